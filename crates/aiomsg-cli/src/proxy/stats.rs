//! What a proxy has done, for whoever watches.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aiomsg_tokio::Socket;
use serde::Serialize;

use super::settlement::InFlight;
use crate::console::{Console, bytes_per_second, counted, per_second, rate};

/// Where the figures come from.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) front: Socket,
    pub(super) back: Socket,
    pub(super) in_flight: InFlight,
    pub(super) missed: Option<Arc<AtomicUsize>>,
}

/// What has passed, and how things stand.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    messages: usize,
    bytes: usize,
    front_peers: usize,
    back_peers: usize,
    /// Messages that are here: not handed over to a worker, or not acknowledged by one. One that is on its way from the front to the
    /// back may be missing.
    waiting: usize,
    /// Those whose acknowledgement somebody in front awaits.
    in_flight: usize,
    resent: usize,
    dropped: usize,
    /// What workers sent.
    answers_dropped: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    capture_missed: Option<usize>,
}

/// The same of a stretch of time, and how fast it went.
#[derive(Debug, Serialize)]
pub(super) struct Stats {
    event: &'static str,
    seconds: f64,
    messages_per_second: f64,
    bytes_per_second: f64,
    #[serde(flatten)]
    figures: Figures,
}

impl Watch {
    pub(super) fn figures(&self) -> Figures {
        let (front, back) = (self.front.metrics(), self.back.metrics());
        Figures {
            messages: back.accepted.messages,
            bytes: back.accepted.bytes,
            front_peers: self.front.peer_count(),
            back_peers: self.back.peer_count(),
            waiting: back.send_held.messages + front.receive_held.messages,
            in_flight: self.in_flight.messages(),
            resent: back.resent.messages,
            dropped: back.dropped_expired.messages
                + back.dropped_at_close.messages
                + front.discarded.messages,
            answers_dropped: back.discarded.messages,
            capture_missed: self.missed.as_ref().map(|missed| missed.load(Ordering::Relaxed)),
        }
    }

    /// Tells again and again, as long as the runtime lives.
    pub(super) async fn tell_every(self, period: Duration, console: Console) {
        let mut ticks = tokio::time::interval(period);
        ticks.tick().await;
        let (mut before, mut at) = (self.figures(), Instant::now());
        loop {
            ticks.tick().await;
            let (now, figures) = (Instant::now(), self.figures());
            console.note(&figures.since(&before, now - at, "stats"));
            (before, at) = (figures, now);
        }
    }
}

impl Figures {
    pub(super) fn since(&self, before: &Self, span: Duration, event: &'static str) -> Stats {
        let (messages, bytes) = (self.messages - before.messages, self.bytes - before.bytes);
        Stats {
            event,
            seconds: span.as_secs_f64(),
            messages_per_second: rate(messages, span),
            bytes_per_second: rate(bytes, span),
            figures: Self { messages, bytes, ..self.clone() },
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, seconds, figures, .. } = self;
        let Figures { messages, bytes, front_peers, back_peers, waiting, in_flight, .. } = figures;
        let (messages, bytes) = (counted(*messages, "message"), counted(*bytes, "byte"));
        let (rate, byte_rate) =
            (per_second(self.messages_per_second, "messages"), bytes_per_second(self.bytes_per_second));
        write!(
            f,
            "{event}: {messages}, {bytes} in {seconds:.1} s; {rate}, {byte_rate}; peers: {front_peers} in front, \
             {back_peers} at the back; messages: {waiting} waiting, {in_flight} in flight"
        )?;
        let rare = [
            (Some(figures.resent), "sent again"),
            (Some(figures.dropped), "dropped"),
            (Some(figures.answers_dropped), "answers dropped"),
            (figures.capture_missed, "not captured"),
        ];
        for (number, what) in rare {
            if let Some(number) = number.filter(|number| *number > 0) {
                write!(f, ", {number} {what}")?;
            }
        }
        Ok(())
    }
}
