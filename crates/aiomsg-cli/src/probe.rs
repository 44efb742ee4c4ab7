//! Messages that an echo sends back, and what their round trips took.

use std::fmt;
use std::time::{Duration, Instant};

use aiomsg_tokio::{Bytes, Identity, Socket};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::failure::Failure;

/// What a probe has to say, in bytes: whose it is, its number, and when it was sent.
pub(crate) const SMALLEST: usize = 32;

/// What may be wrong when no probe comes back.
pub(crate) const NO_ECHO: &str = "is the other end an echo, as aiomsg echo is?";

/// Waits for somebody to ask.
pub(crate) async fn wait_for_peer(socket: &Socket, timeout: Duration) -> Result<(), Failure> {
    let came = tokio::time::timeout(timeout, socket.wait_for_peers(1)).await.map_err(|_| {
        let span = humantime::format_duration(timeout);
        Failure::failed(format!("no peer came within {span}; is the other end running?"))
    })?;
    Ok(came?)
}

/// Makes probes, and knows them when they come back.
#[derive(Debug)]
pub(crate) struct Probes {
    owner: Identity,
    start: Instant,
}

impl Probes {
    /// Those of the socket of this identity.
    pub(crate) fn of(owner: Identity) -> Self {
        Self { owner, start: Instant::now() }
    }

    /// A probe that is sent now, of `size` bytes.
    pub(crate) fn make(&self, number: u64, size: usize) -> Bytes {
        let mut probe = Vec::with_capacity(size.max(SMALLEST));
        probe.extend_from_slice(self.owner.as_bytes());
        probe.extend_from_slice(&number.to_be_bytes());
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        probe.extend_from_slice(&now.to_be_bytes());
        probe.resize(size.max(SMALLEST), b'.');
        probe.into()
    }

    /// The number of a probe of ours that came back, and what its round trip took until now.
    pub(crate) fn read(&self, payload: &[u8]) -> Option<(u64, Duration)> {
        let rest = payload.strip_prefix(self.owner.as_bytes().as_slice())?;
        let (number, rest) = rest.split_first_chunk()?;
        let sent = Duration::from_nanos(u64::from_be_bytes(*rest.first_chunk()?));
        Some((u64::from_be_bytes(*number), self.start.elapsed().saturating_sub(sent)))
    }
}

/// What round trips took.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// The same in a few figures, in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Percentiles {
    min: f64,
    avg: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        /// An hour: whatever takes longer counts as that.
        const LONGEST: u64 = 3_600_000_000_000;
        Self(Histogram::new_with_max(LONGEST, 3).expect("these bounds are valid"))
    }

    pub(crate) fn note(&mut self, span: Duration) {
        self.0.saturating_record(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let us = |nanos: u64| nanos as f64 / 1e3;
        let at = |quantile| us(self.0.value_at_quantile(quantile));
        Percentiles {
            min: us(self.0.min()),
            avg: self.0.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: us(self.0.max()),
        }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, avg, p50, p90, p99, p999, max } = self;
        write!(
            f,
            "min {min:.1} us, avg {avg:.1} us, p50 {p50:.1} us, p90 {p90:.1} us, p99 {p99:.1} us, \
             p99.9 {p999:.1} us, max {max:.1} us"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_known_when_it_comes_back_and_others_are_not() {
        let probes = Probes::of(Identity::from_bytes([1; 16]));
        let probe = probes.make(7, 100);
        assert_eq!(probe.len(), 100);
        assert_eq!(probes.read(&probe).map(|(number, _)| number), Some(7));
        assert_eq!(probes.make(7, 0).len(), SMALLEST);
        assert_eq!(Probes::of(Identity::from_bytes([2; 16])).read(&probe), None);
        for short in 0..SMALLEST {
            assert_eq!(probes.read(&probe[..short]), None);
        }
    }
}
