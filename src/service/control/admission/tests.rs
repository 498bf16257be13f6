use super::*;
use crate::{
    disk::OsDir,
    snapshot::{BlockNumber, SnapshotId},
};
use bytes::Bytes;
use std::path::Path;
use tempfile::TempDir;

const NETWORK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network");

fn load(org: u8, folder: &str) -> LocalIdentity {
    let msp_id = MspId::new(&format!("Org{org}MSP")).unwrap();
    let path = format!("crypto/peerOrganizations/org{org}.example.com/{folder}/msp");
    LocalIdentity::load(&msp_id, &Path::new(NETWORK).join(path)).unwrap()
}

fn admin(org: u8) -> LocalIdentity {
    load(org, &format!("users/Admin@org{org}.example.com"))
}

fn peer(org: u8) -> LocalIdentity {
    load(org, &format!("peers/peer0.org{org}.example.com"))
}

fn config() -> Arc<ChannelConfig> {
    let block = std::fs::read(Path::new(NETWORK).join("config_block.pb")).unwrap();
    Arc::new(ChannelConfig::from_block(&block).unwrap())
}

fn id() -> SnapshotId {
    SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(83) }
}

/// A service of Org1, and its clock.
struct Service {
    identity: LocalIdentity,
    config: Arc<ChannelConfig>,
    seen: SeenCommands,
    now: SystemTime,
    _state: TempDir,
}

impl Service {
    fn new() -> Self {
        let (identity, state) = (peer(1), TempDir::new().unwrap());
        let now = admin(1).identity.not_before() + Duration::from_secs(86_400);
        let seen = SeenCommands::open(OsDir::open(state.path()).unwrap(), now).unwrap();
        Self { identity, config: config(), seen, now, _state: state }
    }

    fn body(&self, by: &LocalIdentity) -> ControlBody {
        ControlBody {
            method: Method::Delete(id()),
            creator: by.identity.serialized().clone(),
            nonce: [7; 24],
            issued_at: unix_seconds(self.now),
            target: self.identity.identity.id(),
        }
    }

    fn admit(&self, command: &SignedCommand) -> Result<Admitted, NotAdmitted> {
        let config = |channel: &ChannelId| (channel == self.config.channel()).then(|| Arc::clone(&self.config));
        admit(command, &self.identity, config, &self.seen, self.now)
    }

    /// The command of Org1's admin, changed.
    fn admit_changed(&self, change: impl FnOnce(&mut ControlBody)) -> Result<Admitted, NotAdmitted> {
        let mut body = self.body(&admin(1));
        change(&mut body);
        self.admit(&body.sign(&admin(1)).unwrap())
    }
}

#[test]
fn an_admin_of_our_organisation_is_obeyed_once() {
    let service = Service::new();
    let command = service.body(&admin(1)).sign(&admin(1)).unwrap();
    let admitted = service.admit(&command).unwrap();
    assert_eq!(admitted.method, Method::Delete(id()));
    assert_eq!(admitted.by.id(), admin(1).identity.id());
    let again = service.admit(&command);
    assert!(matches!(again, Err(NotAdmitted::Seen(SeenError::Replayed))), "{again:?}");
}

#[test]
fn whoever_is_no_admin_of_our_organisation_is_not() {
    let service = Service::new();
    let by_peer = service.admit(&service.body(&peer(1)).sign(&peer(1)).unwrap());
    assert!(matches!(by_peer, Err(NotAdmitted::NotAdmin { .. })), "{by_peer:?}");
    let by_other = service.admit(&service.body(&admin(2)).sign(&admin(2)).unwrap());
    assert!(matches!(by_other, Err(NotAdmitted::OtherOrganisation { .. })), "{by_other:?}");
    // Another organisation's certificate that claims to be of ours.
    let mut claimed = service.body(&admin(2));
    claimed.creator.msp_id = MspId::new("Org1MSP").unwrap();
    let claimed = service.admit(&claimed.sign(&admin(2)).unwrap());
    assert!(matches!(claimed, Err(NotAdmitted::Certificate(_))), "{claimed:?}");
    // Somebody else's signature under the admin's name.
    let forged = service.admit(&service.body(&admin(1)).sign(&peer(1)).unwrap());
    assert!(matches!(forged, Err(NotAdmitted::Certificate(MspError::Signature { .. }))), "{forged:?}");
    // None of them took the nonce.
    service.admit(&service.body(&admin(1)).sign(&admin(1)).unwrap()).unwrap();
}

#[test]
fn a_signature_for_something_else_is_none_for_a_command() {
    let service = Service::new();
    let body = Bytes::from(service.body(&admin(1)).encode());
    for purpose in [Purpose::Attest, Purpose::JoinGrant, Purpose::SessionAuth] {
        let signature = admin(1).sign(purpose, &[&body]).unwrap().into();
        let refused = service.admit(&SignedCommand { body: body.clone(), signature });
        assert!(matches!(refused, Err(NotAdmitted::Certificate(MspError::Signature { .. }))), "{refused:?}");
    }
}

#[test]
fn a_command_is_for_one_service_and_for_some_minutes() {
    let service = Service::new();
    let now = unix_seconds(service.now);
    let other = service.admit_changed(|body| body.target = IdentityId([1; 32]));
    assert!(matches!(other, Err(NotAdmitted::OtherTarget(_))), "{other:?}");
    let late = service.admit_changed(|body| body.issued_at = now - 301);
    assert!(matches!(late, Err(NotAdmitted::Time { age_s: 301, early: false })), "{late:?}");
    let early = service.admit_changed(|body| body.issued_at = now + 301);
    assert!(matches!(early, Err(NotAdmitted::Time { age_s: 301, early: true })), "{early:?}");
    let before_start = service.admit_changed(|body| body.issued_at = now - 1);
    assert!(matches!(before_start, Err(NotAdmitted::Seen(SeenError::TooOld))), "{before_start:?}");
    let channel = service.admit_changed(|body| {
        body.method = Method::Delete(SnapshotId { channel: "other".parse().unwrap(), block_number: BlockNumber(1) });
    });
    assert!(matches!(channel, Err(NotAdmitted::UnknownChannel(_))), "{channel:?}");
    service.admit_changed(|body| body.issued_at = now + 300).unwrap();
}

/// Defence: commands are validated with dates; removed, an expired admin deletes.
#[test]
fn an_expired_admin_is_none() {
    let mut service = Service::new();
    service.now = admin(1).identity.not_after() + Duration::from_secs(1);
    let expired = service.admit_changed(|_| {});
    assert!(matches!(expired, Err(NotAdmitted::Certificate(_))), "{expired:?}");
}
