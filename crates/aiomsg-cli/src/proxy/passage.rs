//! The way of a message from the front to the back.

use std::time::Duration;

use aiomsg_tokio::{Message, Socket};
use tokio::time::Instant;

use super::capture::Capture;
use super::settlement::Settlement;
use crate::failure::Failure;
use crate::intake::{Intake, Taken};
use crate::stop::Stop;

/// What messages pass through.
#[derive(Debug)]
pub(super) struct Passage {
    front: Socket,
    back: Socket,
    /// All messages go on at-least-once, and not only those that came so.
    certain: bool,
    settlement: Settlement,
    capture: Option<Capture>,
}

impl Passage {
    pub(super) const fn new(
        front: Socket,
        back: Socket,
        certain: bool,
        settlement: Settlement,
        capture: Option<Capture>,
    ) -> Self {
        Self { front, back, certain, settlement, capture }
    }

    /// Passes messages on until it is to stop, and has then done with those that are here within `linger`.
    pub(super) async fn run(mut self, stop: Stop, linger: Duration) -> Result<(), Failure> {
        let (result, deadline) = tokio::select! {
            biased;
            result = self.pass_all(stop.clone(), linger) => match result {
                Ok(deadline) => (Ok(()), deadline),
                Err(failure) => (Err(failure), Instant::now() + linger),
            },
            () = stop.overdue(linger) => (Ok(()), Instant::now()),
        };
        result.and(self.end(deadline).await)
    }

    /// Returns until when all is to be done, once it is to stop.
    async fn pass_all(&mut self, stop: Stop, linger: Duration) -> Result<Instant, Failure> {
        let mut intake = Intake::new(self.front.clone(), stop);
        loop {
            let message = match intake.at_once().await? {
                Some(message) => message,
                None => {
                    if let Some(capture) = &mut self.capture {
                        capture.flush();
                    }
                    match intake.wait(None).await? {
                        Taken::Message(message) => message,
                        Taken::Stopped(_) | Taken::TimeUp => break,
                    }
                }
            };
            self.pass(message).await?;
        }
        Ok(Instant::now() + linger)
    }

    async fn pass(&mut self, message: Message) -> Result<(), Failure> {
        if let Some(capture) = &mut self.capture {
            capture.note(&message);
        }
        if !self.certain && !message.wants_acknowledgement() {
            return Ok(self.back.send(message.payload().clone()).await?);
        }
        let slot = self.settlement.slot().await;
        let receipt = self.back.send_with_receipt(message.payload().clone()).await?;
        self.settlement.settle(message, receipt, slot);
        Ok(())
    }

    /// Hands on what is left, and closes both sockets.
    async fn end(self, deadline: Instant) -> Result<(), Failure> {
        let Self { front, back, certain, settlement, mut capture } = self;
        let left = || deadline.saturating_duration_since(Instant::now());
        // In time or not: what is not settled by then is rejected.
        let _ = tokio::time::timeout_at(deadline, settlement.finish()).await;
        front.close_within(left()).await;
        // In time or not: what is left counts as lost.
        let _ = tokio::time::timeout_at(deadline, pass_rest(&front, &back, certain, &mut capture)).await;
        let lost = front.metrics().receive_held.messages + back.close_within(left()).await.dropped.messages;
        if let Some(capture) = capture {
            match tokio::time::timeout_at(deadline.max(Instant::now() + GRACE), capture.finish()).await {
                Ok(result) => result?,
                Err(_) => {
                    return Err(Failure::failed(
                        "the capture is not complete: it could not be written in time",
                    ));
                }
            }
        }
        match lost {
            0 => Ok(()),
            _ => Err(Failure::failed(format!(
                "{lost} messages could not be handed on in time; of these, senders still have those that they sent at-least-once"
            ))),
        }
    }
}

/// Passes on what the front still has, after it was closed. At-least-once, senders have it, too, and take it elsewhere.
async fn pass_rest(front: &Socket, back: &Socket, certain: bool, capture: &mut Option<Capture>) {
    while let Ok(Some(message)) = front.try_recv_message() {
        if message.wants_acknowledgement() {
            continue;
        }
        if let Some(capture) = capture {
            capture.note(&message);
        }
        let payload = message.payload().clone();
        // Nobody awaits the receipt: the end of the socket waits for the acknowledgement.
        let sent =
            if certain { back.send_with_receipt(payload).await.map(drop) } else { back.send(payload).await };
        if sent.is_err() {
            return;
        }
    }
}

/// What was captured has this long at least to be written.
const GRACE: Duration = Duration::from_secs(1);
