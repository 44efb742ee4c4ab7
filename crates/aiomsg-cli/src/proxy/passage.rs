//! The way of a message from the front to the back.

use std::time::Duration;

use aiomsg_tokio::{Message, SendError, Socket};
use tokio::time::Instant;

use super::capture::Capture;
use super::settlement::Settlement;
use crate::console::{Console, Remark, counted};
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
    console: Console,
    /// A message was taken from the front that the back does not have yet, nor has its sender.
    in_hand: bool,
}

impl Passage {
    pub(super) const fn new(
        front: Socket,
        back: Socket,
        certain: bool,
        settlement: Settlement,
        capture: Option<Capture>,
        console: Console,
    ) -> Self {
        Self { front, back, certain, settlement, capture, console, in_hand: false }
    }

    /// Passes messages on until it is to stop, and has then done with those that are here within `linger`.
    pub(super) async fn run(mut self, stop: Stop, linger: Duration) -> Result<(), Failure> {
        let result = tokio::select! {
            biased;
            result = self.pass_all(stop.clone()) => result,
            () = stop.overdue(linger) => Ok(()),
        };
        result.and(self.end(stop.deadline(linger)).await)
    }

    async fn pass_all(&mut self, stop: Stop) -> Result<(), Failure> {
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
                        Taken::Stopped(_) | Taken::TimeUp => return Ok(()),
                    }
                }
            };
            self.pass(message).await?;
        }
    }

    async fn pass(&mut self, message: Message) -> Result<(), Failure> {
        if let Some(capture) = &mut self.capture {
            capture.note(&message);
        }
        self.in_hand = !message.wants_acknowledgement();
        if self.in_hand && !self.certain {
            unless_too_long(self.back.send(message.payload().clone()).await, self.console)?;
            self.in_hand = false;
            return Ok(());
        }
        let slot = self.settlement.slot().await;
        let sent = self.back.send_with_receipt(message.payload().clone()).await;
        let receipt = unless_too_long(sent, self.console)?;
        self.in_hand = false;
        match receipt {
            Some(receipt) => self.settlement.settle(message, receipt, slot),
            None => message.reject(),
        }
        Ok(())
    }

    /// Hands on what is left, and closes both sockets.
    async fn end(self, deadline: Instant) -> Result<(), Failure> {
        let Self { front, back, certain, settlement, mut capture, console, in_hand } = self;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut lost = usize::from(in_hand);
        let mut rest =
            Rest { front: &front, back: &back, certain, capture: capture.as_mut(), console, in_hand: false };
        // The front stays open until all is settled, or nobody would hear of it. What comes meanwhile goes on.
        let closing = async {
            // In time or not: what is not settled by then is rejected.
            let _ = tokio::time::timeout_at(deadline, settlement.finish()).await;
            front.close_within(left()).await;
        };
        // In time or not: what is left counts as lost.
        let (_, ()) = tokio::join!(tokio::time::timeout_at(deadline, rest.pass()), closing);
        lost += rest.count();
        lost += back.close_within(left()).await.dropped.messages;
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
                "{} could not be handed on in time; senders still have what they sent at-least-once",
                counted(lost, "message")
            ))),
        }
    }
}

/// What the front still has when it is to stop. At-least-once, senders have it, too, and take it elsewhere.
struct Rest<'a> {
    front: &'a Socket,
    back: &'a Socket,
    certain: bool,
    capture: Option<&'a mut Capture>,
    console: Console,
    /// As [`Passage::in_hand`].
    in_hand: bool,
}

impl Rest<'_> {
    /// Passes it on, until the front is closed and has nothing any more.
    async fn pass(&mut self) {
        while let Ok(message) = self.front.recv_message().await {
            if message.wants_acknowledgement() {
                continue;
            }
            if let Some(capture) = &mut self.capture {
                capture.note(&message);
            }
            self.in_hand = true;
            let payload = message.payload().clone();
            // Nobody awaits the receipt: the end of the socket waits for the acknowledgement.
            let sent = if self.certain {
                self.back.send_with_receipt(payload).await.map(drop)
            } else {
                self.back.send(payload).await
            };
            if unless_too_long(sent, self.console).is_err() {
                return;
            }
            self.in_hand = false;
        }
    }

    /// How many messages nobody else has.
    fn count(&self) -> usize {
        let mut count = usize::from(self.in_hand);
        while let Ok(Some(message)) = self.front.try_recv_message() {
            count += usize::from(!message.wants_acknowledgement());
        }
        count
    }
}

/// What came of sending a message on, or nothing if that is too long for the back: it is dropped, and the others go on.
fn unless_too_long<T>(sent: Result<T, SendError>, console: Console) -> Result<Option<T>, SendError> {
    match sent {
        Err(SendError::TooLong { payload, limit }) => {
            let text = format!(
                "a message of {} bytes was dropped: at most {limit} bytes can be handed on",
                payload.len()
            );
            console.note(&Remark { event: "too_long", text });
            Ok(None)
        }
        sent => sent.map(Some),
    }
}

/// What was captured has this long at least to be written.
const GRACE: Duration = Duration::from_secs(1);
