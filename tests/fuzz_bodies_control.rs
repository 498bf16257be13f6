//! The fuzz bodies for local control and for a Fabric peer's answers, on stable: over good requests, commands and answers, and thousands
//! of deterministic mutations.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "../fuzz/bodies/control.rs"]
#[allow(unreachable_pub, reason = "shared with the fuzz target")]
mod control;
#[path = "common/numbers.rs"]
#[allow(unreachable_pub, reason = "shared by several tests")]
mod numbers;
#[path = "../fuzz/bodies/peer.rs"]
#[allow(unreachable_pub, reason = "shared with the fuzz target")]
mod peer;

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

/// What a Fabric peer answers: pending requests, channels, the end of a ledger, a join, a response and a refusal in it.
fn answers() -> Vec<Vec<u8>> {
    let text = [
        "0a06a08d06e88e06",
        "0a050a036368310a0b0a096d796368616e6e656c",
        "08850112200101010101010101010101010101010101010101010101010101010101010101220208531a200202020202020202020202020202020202020202020202020202020202020202",
        "080112042f612f62",
        "220608c8011a0170",
        "221208f403120d6163636573732064656e696564",
    ];
    text.iter().map(|hex| hex::decode(hex).unwrap()).collect()
}

#[test]
fn mutated_messages_never_panic() {
    mutated(&golden(), control::body);
}

#[test]
fn mutated_answers_of_a_peer_never_panic() {
    mutated(&answers(), peer::body);
}

fn mutated(messages: &[Vec<u8>], body: fn(&[u8])) {
    let mut numbers = Numbers(3);
    for message in messages {
        body(message);
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
            body(&bytes);
        }
    }
}
