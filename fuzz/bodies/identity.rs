//! An identity of any bytes: refused, or the same one when it is read again; no signature of noise is its own.

use snapferry::msp::{Identity, Purpose, SerializedIdentity};

/// Decodes `data` as Fabric's SerializedIdentity and takes its certificate apart.
pub(crate) fn body(data: &[u8]) {
    let Ok(serialized) = SerializedIdentity::decode(data) else { return };
    let again = SerializedIdentity::decode(&serialized.encode());
    assert_eq!(again.expect("we encoded it"), serialized);
    let Ok(identity) = Identity::parse(serialized) else { return };
    let again = Identity::parse(identity.serialized().clone()).expect("it was parsed before");
    assert_eq!((again.id(), again.msp_id()), (identity.id(), identity.msp_id()));
    assert!(identity.subject().chars().count() <= 256);
    assert!(identity.verify(Purpose::SessionAuth, &[data], data).is_err());
}
