//! aiomsg, on its runtimes.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aiomsg_driver::Runtime;
use aiomsg_proto::{DeliveryGuarantee, Identity, SendError, SendMode, SlowPeer};
use aiomsg_smol::Smol;
use aiomsg_tokio::Tokio;
use bytes::Bytes;
use smol::Executor;
use tokio::runtime::Builder;

use super::{in_a_task, on_one_thread};
use crate::library::{Library, Role, Way};

/// aiomsg as it comes.
pub struct Aiomsg<M>(PhantomData<M>);

/// What it runs on, and how.
pub trait Mode: 'static {
    type Runtime: Runtime;
    const DELIVERY: DeliveryGuarantee = DeliveryGuarantee::AtMostOnce;

    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T;

    /// The runtime that serves the sockets, if it is not the one that the caller is in.
    fn runtime() -> Option<Self::Runtime> {
        None
    }
}

/// Runs on the thread of the process, as the other runtimes do. The global one has threads of its own.
static EXECUTOR: LazyLock<Arc<Executor<'static>>> = LazyLock::new(|| Arc::new(Executor::new()));

pub struct OneThread;
pub struct TwoThreads;
pub struct OnSmol;
pub struct Acknowledged;

impl Mode for OneThread {
    type Runtime = Tokio;

    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        on_one_thread(task)
    }
}

impl Mode for TwoThreads {
    type Runtime = Tokio;

    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2);
        in_a_task(builder, task)
    }
}

impl Mode for OnSmol {
    type Runtime = Smol;

    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        smol::block_on(EXECUTOR.run(EXECUTOR.spawn(task)))
    }

    fn runtime() -> Option<Smol> {
        Some(Smol::on(&EXECUTOR))
    }
}

impl Mode for Acknowledged {
    type Runtime = Tokio;
    const DELIVERY: DeliveryGuarantee = DeliveryGuarantee::AtLeastOnce;

    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        on_one_thread(task)
    }
}

pub struct Socket<R> {
    socket: aiomsg_driver::Socket<R>,
    role: Role,
    /// Whom an answer goes to.
    asker: Option<Identity>,
}

impl<M: Mode> Library for Aiomsg<M> {
    type Socket = Socket<M::Runtime>;
    type Message = Bytes;

    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        M::block_on(task)
    }

    async fn open(role: Role, way: Way, address: &str) -> Self::Socket {
        let builder = aiomsg_driver::Socket::<M::Runtime>::builder();
        let builder = match role {
            Role::Publish { .. } => {
                builder.send_mode(SendMode::Publish).slow_peer(SlowPeer::Block(Duration::from_secs(60)))
            }
            _ => builder.delivery(M::DELIVERY),
        };
        let builder = match M::runtime() {
            Some(runtime) => builder.runtime(runtime),
            None => builder,
        };
        let socket = builder.build().expect("valid settings");
        match way {
            Way::Connect => socket.connect(address).expect("open"),
            Way::Bind => {
                socket.bind(address).await.expect("a free port");
                crate::ends::say_ready();
            }
        }
        if let Role::Publish { subscribers } = role {
            socket.wait_for_peers(subscribers).await.expect("open");
        }
        Socket { socket, role, asker: None }
    }

    async fn send(socket: &mut Self::Socket, payload: &Bytes) {
        match socket.asker {
            Some(asker) => socket.socket.send_to(asker, payload.clone()).await.expect("open"),
            None => socket.socket.send(payload.clone()).await.expect("open"),
        }
    }

    async fn offer(socket: &mut Self::Socket, payload: &Bytes) {
        match socket.socket.try_send(payload.clone()) {
            Ok(()) | Err(SendError::Full(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    async fn receive(socket: &mut Self::Socket) -> Bytes {
        if socket.role == Role::Answer {
            let received = socket.socket.recv_from().await.expect("open");
            socket.asker = Some(received.identity);
            return received.payload;
        }
        socket.socket.recv().await.expect("open")
    }

    async fn send_on(socket: &mut Self::Socket, message: Bytes) {
        match socket.asker {
            Some(asker) => socket.socket.send_to(asker, message).await.expect("open"),
            None => socket.socket.send(message).await.expect("open"),
        }
    }
}
