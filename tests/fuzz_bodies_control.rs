//! The fuzz body for local control, on stable: over good requests, commands and answers, and thousands of deterministic mutations.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "../fuzz/bodies/control.rs"]
#[allow(unreachable_pub, reason = "shared with the fuzz target")]
mod control;
#[path = "common/numbers.rs"]
#[allow(unreachable_pub, reason = "shared by several tests")]
mod numbers;

use numbers::Numbers;
use snapferry::{
    catalog::Deleted,
    msp::{IdentityId, MspId, SerializedIdentity},
    service::control::{ControlBody, Method, Refused, RefusedCode, Request, Response, SignedCommand},
    snapshot::{BlockNumber, SnapshotId},
};

const MUTATIONS_PER_MESSAGE: u64 = 3_000;

fn golden() -> Vec<Vec<u8>> {
    let id = SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(83) };
    let body = ControlBody {
        method: Method::Delete(id.clone()),
        creator: SerializedIdentity { msp_id: MspId::new("Org1MSP").unwrap(), id_bytes: "PEM".into() },
        nonce: [9; 24],
        issued_at: 1_800_000_000,
        target: IdentityId([1; 32]),
    };
    let command = SignedCommand { body: body.encode().into(), signature: "signature".into() };
    let refused = Refused { code: RefusedCode::Denied, text: "no".to_owned() };
    vec![
        body.encode(),
        Request::Command(command).encode(),
        Request::List(Some(id.channel.clone())).encode(),
        Request::Show(id.clone()).encode(),
        Request::Sign(id, "nonce".into()).encode(),
        Response::Refused(refused).encode(),
        Response::Deleted(Deleted::Already).encode(),
    ]
}

#[test]
fn mutated_messages_never_panic() {
    let mut numbers = Numbers(3);
    for message in golden() {
        control::body(&message);
        for _ in 0..MUTATIONS_PER_MESSAGE {
            let mut bytes = message.clone();
            for _ in 0..=numbers.below(3) {
                let at = numbers.below(bytes.len());
                match numbers.below(4) {
                    0 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
                    1 => bytes.truncate(at),
                    2 => bytes.insert(at, numbers.next() as u8),
                    _ => {
                        let copy = bytes[at..].to_vec();
                        bytes.splice(at..at, copy);
                    }
                }
            }
            control::body(&bytes);
        }
    }
}
