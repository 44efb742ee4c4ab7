//! What the applications of a fleet do: send, take, change their minds.

use alloc::collections::VecDeque;
use core::pin::Pin;
use core::task::{Poll, Waker};
use core::time::Duration;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aiomsg_driver::{Closed, PendingReceipt, ReceivedStream, Runtime, SendError, Socket};
use bytes::Bytes;
use futures_core::Stream;

use super::ledger::Book;
use crate::runtime::Process;
use crate::simulation::model::{Accepted, Addressee, Life};

/// A message to be sent.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) payload: Bytes,
    pub(super) to: Addressee,
    pub(super) with_receipt: bool,
    /// It is given up if it is not accepted by then.
    pub(super) patience: Option<Duration>,
    /// It is sent now or not at all.
    pub(super) at_once: bool,
}

/// What an application is to do.
#[derive(Debug, Default)]
struct Desk {
    orders: VecDeque<Order>,
    /// How many messages may be taken.
    permits: usize,
    closing: bool,
    waiting: Vec<Waker>,
}

/// An application with one socket and several tasks.
#[derive(Clone, Debug)]
pub(super) struct Application {
    pub(super) socket: Socket<Process>,
    pub(super) life: Life,
    pub(super) book: Book,
    /// What it sends is delivered at-least-once.
    pub(super) at_least_once: bool,
    pub(super) manual: bool,
    desk: Arc<Mutex<Desk>>,
}

impl Application {
    /// One that takes this many messages, until it is allowed more.
    pub(super) fn new(socket: Socket<Process>, life: Life, book: Book, permits: usize) -> Self {
        let desk = Arc::new(Mutex::new(Desk { permits, ..Desk::default() }));
        Self { socket, life, book, at_least_once: false, manual: false, desk }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Desk)) {
        let mut desk = self.desk();
        change(&mut desk);
        let waiting = core::mem::take(&mut desk.waiting);
        drop(desk);
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(super) fn order(&self, order: Order) {
        self.change(|desk| desk.orders.push_back(order));
    }

    pub(super) fn allow(&self, permits: usize) {
        self.change(|desk| desk.permits = desk.permits.saturating_add(permits));
    }

    pub(super) fn close(&self) {
        self.change(|desk| {
            desk.closing = true;
            desk.orders.clear();
        });
    }

    /// Nothing is left to be done.
    pub(super) fn has_orders(&self) -> bool {
        !self.desk().orders.is_empty()
    }

    /// Waits until there is something to do; nothing at all when it closes.
    async fn next<T>(&self, take: impl Fn(&mut Desk) -> Option<T>) -> Option<T> {
        poll_fn(|cx| {
            let mut desk = self.desk();
            match take(&mut desk) {
                Some(taken) => Poll::Ready(Some(taken)),
                None if desk.closing => Poll::Ready(None),
                None => {
                    desk.waiting.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Starts its tasks: some that send, and some that take.
    pub(super) fn start(&self, rng: &mut fastrand::Rng) {
        let runtime = self.socket.runtime().clone();
        for _ in 0..rng.usize(1..4) {
            runtime.spawn(self.clone().send_all());
        }
        for _ in 0..rng.usize(1..4) {
            runtime.spawn(self.clone().take_all(rng.fork()));
        }
    }

    async fn send_all(self) {
        while let Some(order) = self.next(|desk| desk.orders.pop_front()).await {
            self.perform(order).await;
        }
    }

    async fn perform(&self, order: Order) {
        let payload = order.payload.clone();
        let sent = match order.patience {
            Some(patience) => self.socket.runtime().timeout(patience, self.send(&order)).await,
            None => Some(self.send(&order).await),
        };
        match sent {
            // It changed its mind: the message must not arrive.
            None => {}
            Some(Ok(receipt)) => {
                let at_least_once = self.at_least_once || order.with_receipt;
                let accepted = Accepted { from: self.life, to: order.to, at_least_once, number: 0 };
                self.book.open().accept(payload.clone(), accepted);
                if let Some(receipt) = receipt {
                    self.await_receipt(payload, receipt);
                }
            }
            Some(Err(error)) => {
                let wrong = matches!(error, SendError::PublishAtLeastOnce(_) | SendError::TooLong { .. });
                let closed = matches!(error, SendError::Closed(_)) && !self.desk().closing;
                assert!(!wrong && !closed, "{error}");
                assert_eq!(error.into_payload(), payload, "the message comes back");
            }
        }
    }

    async fn send(&self, order: &Order) -> Result<Option<PendingReceipt>, SendError> {
        let (socket, payload) = (&self.socket, order.payload.clone());
        match order.to {
            Addressee::One(identity) if order.with_receipt => {
                socket.send_to_with_receipt(identity, payload).await.map(Some)
            }
            _ if order.with_receipt => socket.send_with_receipt(payload).await.map(Some),
            Addressee::One(identity) if order.at_once => socket.try_send_to(identity, payload).map(|()| None),
            _ if order.at_once => socket.try_send(payload).map(|()| None),
            Addressee::One(identity) => socket.send_to(identity, payload).await.map(|()| None),
            _ => socket.send(payload).await.map(|()| None),
        }
    }

    fn await_receipt(&self, payload: Bytes, receipt: PendingReceipt) {
        *self.book.open().awaited.entry(self.life).or_default() += 1;
        let (book, life) = (self.book.clone(), self.life);
        self.socket.runtime().spawn(async move {
            let receipt = receipt.await;
            book.open().note_receipt(life, &payload, receipt);
        });
    }

    /// Takes messages while it may, and changes its mind now and then while it waits for one.
    async fn take_all(self, mut rng: fastrand::Rng) {
        let permit = |desk: &mut Desk| {
            let left = desk.permits.checked_sub(1)?;
            desk.permits = left;
            Some(())
        };
        let mut messages = (!self.manual && rng.bool()).then(|| self.socket.messages_from());
        while self.next(permit).await.is_some() {
            let patience = rng.bool().then(|| Duration::from_micros(rng.u64(0..400_000)));
            let rejects = self.manual && rng.u8(..) < 40;
            let take = self.take(messages.as_mut(), rejects);
            let taken = match patience {
                Some(patience) => self.socket.runtime().timeout(patience, take).await,
                None => Some(take.await),
            };
            match taken {
                None => self.allow(1),
                Some(Ok(())) => {}
                Some(Err(Closed)) => return,
            }
        }
    }

    async fn take(&self, messages: Option<&mut ReceivedStream>, rejects: bool) -> Result<(), Closed> {
        if self.manual {
            let message = self.socket.recv_message().await?;
            self.book.open().deliver(self.life, message.identity(), message.payload(), !rejects);
            if rejects {
                message.reject();
            } else {
                message.acknowledge();
            }
            return Ok(());
        }
        let received = match messages {
            Some(messages) => poll_fn(|cx| Pin::new(&mut *messages).poll_next(cx)).await.ok_or(Closed)?,
            None => self.socket.recv_from().await?,
        };
        self.book.open().deliver(self.life, received.identity, &received.payload, true);
        Ok(())
    }
}
