//! Generated from proto/fabric: never leaves this layer.
#![allow(
    missing_docs,
    unreachable_pub,
    unnameable_types,
    dead_code,
    clippy::all,
    clippy::use_self,
    reason = "generated"
)]

/// Package `fabric.common`.
pub(crate) mod common {
    include!(concat!(env!("OUT_DIR"), "/fabric.common.rs"));
}

/// Package `fabric.msp`.
pub(crate) mod msp {
    include!(concat!(env!("OUT_DIR"), "/fabric.msp.rs"));
}

/// Package `fabric.policies`.
pub(crate) mod policies {
    include!(concat!(env!("OUT_DIR"), "/fabric.policies.rs"));
}
