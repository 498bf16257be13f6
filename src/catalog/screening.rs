//! Which statements of other organisations are kept, and given on to who asks us: those of their peers alone, for as long as a stored
//! one may hold. What strangers make up in an organisation's name must not take the places of what it really said.

use std::time::SystemTime;

use super::{
    Attestation, LIVE_WITHIN, STORED_LIFE_MAX,
    conflicts::speaks,
    judging::{is_unexpired, seconds},
};
use crate::msp::{ChannelConfig, MspId};

/// What statements are screened by.
#[derive(Debug, Clone, Copy)]
pub struct Screening<'a> {
    /// Who is a member; its channel is the only one that counts.
    pub config: &'a ChannelConfig,
    /// Our own organisation: what it says isn't for us to relay.
    pub own_msp: &'a MspId,
    /// The time.
    pub now: SystemTime,
}

impl Screening<'_> {
    /// Whether it is another organisation's own word, and still holds.
    #[must_use]
    pub fn admits(&self, attestation: &Attestation) -> bool {
        let (body, identity) = (attestation.body(), attestation.identity());
        body.id.channel == *self.config.channel()
            && identity.msp_id() != self.own_msp
            && is_unexpired(body, self.now)
            && body.issued_at <= seconds(self.now).saturating_add(LIVE_WITHIN.as_secs())
            && body.expires_at.saturating_sub(body.issued_at) <= STORED_LIFE_MAX.as_secs()
            && self.config.validate_stored(identity).is_ok()
            && speaks(self.config, identity)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalog::{
        AttestBody,
        fixture::{manifest, member, network, now, org, peer, says_so, stranger},
    };

    /// Each condition alone; removed, its line fails.
    #[test]
    fn only_a_peers_word_that_holds_for_a_week_at_most_is_admitted() {
        let (config, own) = (network(), org(9));
        let screening = Screening { config: &config, own_msp: &own, now: now() };
        let of = manifest(83, 0);
        let admits = |change: &dyn Fn(&mut AttestBody)| screening.admits(&says_so(&peer(2), &of, change).attestation);
        let (week, near) = (STORED_LIFE_MAX.as_secs(), LIVE_WITHIN.as_secs());
        assert!(admits(&|_| ()), "a live one's hour");
        assert!(admits(&|body| body.expires_at = body.issued_at + week));
        assert!(!admits(&|body| body.expires_at = body.issued_at + week + 1));
        assert!(!admits(&|body| body.expires_at = u64::MAX));
        assert!(admits(&|body| body.issued_at += near));
        assert!(!admits(&|body| body.issued_at += near + 1), "of the future");
        assert!(!admits(&|body| body.expires_at = body.issued_at), "expired");
        assert!(!admits(&|body| body.id.channel = "ch2".parse().unwrap()));
        for by in [stranger(2), member(2, "client", 2030), member(2, "admin", 2030)] {
            assert!(!screening.admits(&says_so(&by, &of, |_| ()).attestation), "{}", by.identity.subject());
        }
        assert!(screening.admits(&says_so(&member(2, "peer", 2030), &of, |_| ()).attestation));
        let said = says_so(&peer(2), &of, |_| ()).attestation;
        assert!(!Screening { own_msp: &org(2), ..screening }.admits(&said), "our own");
        assert!(!Screening { config: &network().without(&org(2)), ..screening }.admits(&said));
        assert!(!Screening { now: now() + Duration::from_secs(3600), ..screening }.admits(&said));
    }
}
