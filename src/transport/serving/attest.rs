//! AttestationGet (the RFC's SignSnapshotMetadata): paced, judged, and answered off the thread that drives QUIC.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::session::ServedSession;
use crate::{
    msp::Operation,
    transport::{
        fault::ErrorCode,
        limits::{ATTESTATION_BURST, ATTESTATION_EVERY, ATTESTATIONS_MAX, FRAME_BYTES_MAX},
        off_the_driver,
        wire::{Attestation, AttestationGet, Body, Refusal},
    },
};

/// Bytes in a frame of attestations that aren't an attestation's own: tags and lengths of each, of the list, and of the frame.
const FRAMING_BYTES: usize = 16;

/// How many requests may still be answered, and since when.
#[derive(Debug)]
pub(super) struct Pace(Mutex<(f64, Instant)>);

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new((f64::from(ATTESTATION_BURST), now)))
    }

    /// Takes a place; or says when there is one.
    fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.saturating_duration_since(pace.1).div_duration_f64(ATTESTATION_EVERY);
        let places = (pace.0 + earned).min(f64::from(ATTESTATION_BURST));
        let taken = places >= 1.0;
        *pace = (if taken { places - 1.0 } else { places }, now);
        if taken { Ok(()) } else { Err(ATTESTATION_EVERY.mul_f64(1.0 - places)) }
    }
}

/// Attestations of a snapshot, for a client that may have it signed.
pub(super) async fn answer(session: &ServedSession, get: AttestationGet) -> Result<Body, Refusal> {
    session.pace.take(Instant::now()).map_err(|retry_after| Refusal {
        // Milliseconds travel, rounded down: a little more, or a punctual client is refused again.
        retry_after: Some(retry_after + Duration::from_millis(1)),
        ..Refusal::new(ErrorCode::RateLimited, "one request for attestations a second")
    })?;
    session.allow(Operation::Sign, Some(get.id.block_number))?;
    if get.id.channel != session.channel {
        return Err(Refusal::new(ErrorCode::NotFound, "no snapshot of that channel on this connection"));
    }
    let config = session.config()?;
    let attest = Arc::clone(&session.shared.context.attest);
    let attested = off_the_driver(&session.shared.context.workers, move || attest(&config, &get)).await;
    attested
        .unwrap_or_else(|_| Err(Refusal::new(ErrorCode::Internal, "")))
        .map(|list| Body::Attestations(fitting(list)))
}

/// As many as one frame may carry; the first ones matter most.
fn fitting(mut list: Vec<Attestation>) -> Vec<Attestation> {
    let mut room = FRAME_BYTES_MAX - 2 * FRAMING_BYTES;
    let fits = |one: &&Attestation| {
        let left = room.checked_sub(one.body.len() + one.signature.len() + FRAMING_BYTES);
        room = left.unwrap_or(0);
        left.is_some()
    };
    let count = list.iter().take(ATTESTATIONS_MAX).take_while(fits).count();
    list.truncate(count);
    list
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::transport::wire::Frame;

    #[tokio::test(start_paused = true)]
    async fn a_few_in_a_row_then_one_a_second() {
        let start = Instant::now();
        let pace = Pace::new(start);
        for _ in 0..ATTESTATION_BURST {
            pace.take(start).unwrap();
        }
        assert_eq!(pace.take(start), Err(ATTESTATION_EVERY));
        let half = start + ATTESTATION_EVERY / 2;
        assert_eq!(pace.take(half), Err(ATTESTATION_EVERY / 2), "a refusal costs nothing");
        pace.take(start + ATTESTATION_EVERY).unwrap();
        assert!(pace.take(start + ATTESTATION_EVERY).is_err());
        let later = start + 100 * ATTESTATION_EVERY;
        let taken = (0..100).take_while(|_| pace.take(later).is_ok()).count();
        assert_eq!(taken, ATTESTATION_BURST as usize, "what isn't used isn't saved up");
    }

    #[test]
    fn what_one_frame_cannot_carry_is_left_out_from_the_end() {
        let one = |len| Attestation { body: Bytes::from(vec![7; len]), signature: Bytes::from_static(&[1; 72]) };
        let few = vec![one(2_000); 3];
        assert_eq!(fitting(few.clone()), few);
        assert_eq!(fitting(vec![one(100); ATTESTATIONS_MAX + 1]).len(), ATTESTATIONS_MAX);
        let fitted = fitting(vec![one(20 << 10); ATTESTATIONS_MAX]);
        assert!(fitted.len() > 45, "{}", fitted.len());
        let bytes = Frame { request_id: u64::MAX, body: Body::Attestations(fitted) }.encode();
        assert!(bytes.len() <= FRAME_BYTES_MAX && bytes.len() > FRAME_BYTES_MAX - (21 << 10), "{}", bytes.len());
    }
}
