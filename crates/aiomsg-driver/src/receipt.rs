//! What became of a message.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use aiomsg_proto::{Receipt, ReceiptId};

use crate::shared::Shared;

/// What is known of a message that somebody asks about.
#[derive(Debug)]
pub(crate) enum ReceiptState {
    Awaited(Option<Waker>),
    Known(Receipt),
}

/// The fate of a message, still to come: acknowledged by its recipient, given up, or cut off by the end of the socket.
///
/// May stay pending as long as the socket is open: while no peer is connected, or none acknowledges and
/// [`Config::max_attempts`](aiomsg_proto::Config::max_attempts) is unset. May be dropped at any time, which cancels
/// nothing. Does not keep the socket open.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct PendingReceipt {
    shared: Arc<Shared>,
    id: ReceiptId,
}

impl PendingReceipt {
    pub(crate) const fn new(shared: Arc<Shared>, id: ReceiptId) -> Self {
        Self { shared, id }
    }
}

impl Future for PendingReceipt {
    type Output = Receipt;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Receipt> {
        self.shared.with(|state| match state.receipts.get_mut(&self.id) {
            Some(ReceiptState::Known(receipt)) => Poll::Ready(*receipt),
            Some(ReceiptState::Awaited(waker)) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            // Not possible while this exists; nothing is known then.
            None => Poll::Ready(Receipt::Closed),
        })
    }
}

impl Drop for PendingReceipt {
    fn drop(&mut self) {
        self.shared.with(|state| state.receipts.remove(&self.id));
    }
}
