//! monocoque on one thread of tokio. What is sent is lined up until there are 64 KiB of it, or until it is flushed. A socket
//! is one connection; who receives from several has its `PullFanIn`, a task for each of them. Publishing has a thread of its
//! own, and drops what that does not take soon enough; here it is published again, until it is taken.

use std::future::Future;

use ::monocoque::rt::TcpListener;
use ::monocoque::zmq::{
    PubSocket, PullFanIn, PullSocket, PushSocket, RepSocket, ReqSocket, SocketOptions, SubSocket,
};
use bytes::Bytes;
use send_wrapper::SendWrapper;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::library::{Library, Role, Way};

pub struct Monocoque;

pub enum Socket {
    Push(PushSocket),
    Pull(PullSocket, Vec<Bytes>),
    PullMany(PullFanIn),
    Publish(PubSocket),
    Subscribe(SubSocket, Vec<Bytes>),
    Ask(ReqSocket),
    Answer(RepSocket),
}

async fn listen(address: &str) -> TcpListener {
    let listener = TcpListener::bind(address).await.expect("a free port");
    crate::ends::say_ready();
    listener
}

async fn open(role: Role, way: Way, address: &str) -> Socket {
    let lining_up = SocketOptions::default().with_write_coalescing(true);
    match (role, way) {
        (Role::Push | Role::Idle, Way::Connect) => Socket::Push(
            PushSocket::connect_with_options(address, lining_up).await.expect("somebody listens"),
        ),
        (Role::Pull { senders: 1 }, Way::Bind) => {
            let (stream, _) = listen(address).await.accept().await.expect("a peer");
            Socket::Pull(PullSocket::from_tcp(stream).await.expect("a peer"), Vec::new())
        }
        (Role::Pull { senders } | Role::Hold { senders }, Way::Bind) => {
            let listener = listen(address).await;
            let workers = PullFanIn::accept_workers(&listener, senders, SocketOptions::default());
            Socket::PullMany(workers.await.expect("peers"))
        }
        (Role::Publish { subscribers }, Way::Bind) => {
            let mut socket =
                PubSocket::bind_with_workers_opts(address, 1, lining_up).await.expect("a free port");
            crate::ends::say_ready();
            for _ in 0..subscribers {
                socket.accept_subscriber().await.expect("a subscriber");
            }
            // It does not tell who has subscribed.
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            Socket::Publish(socket)
        }
        (Role::Subscribe, Way::Connect) => {
            let mut socket = SubSocket::connect(address).await.expect("somebody listens");
            socket.subscribe(b"").await.expect("a subscriber");
            Socket::Subscribe(socket, Vec::new())
        }
        (Role::Ask, Way::Connect) => {
            Socket::Ask(ReqSocket::connect(&format!("tcp://{address}")).await.expect("somebody listens"))
        }
        (Role::Answer, Way::Bind) => {
            crate::ends::say_ready();
            Socket::Answer(RepSocket::bind(address).await.expect("a free port").1)
        }
        _ => panic!("it is not asked for this"),
    }
}

impl Library for Monocoque {
    type Socket = Socket;
    type Message = Bytes;

    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(LocalSet::new().run_until(task))
    }

    async fn open(role: Role, way: Way, address: &str) -> Socket {
        // Its futures are bound to their thread.
        SendWrapper::new(open(role, way, address)).await
    }

    async fn send(socket: &mut Socket, payload: &Bytes) {
        match socket {
            Socket::Push(socket) => socket.send_one(payload.clone()).await,
            Socket::Publish(socket) => publish(socket, payload.clone()).await,
            Socket::Ask(socket) => socket.send_one(payload.clone()).await,
            Socket::Answer(socket) => socket.send(vec![payload.clone()]).await,
            Socket::Pull(..) | Socket::PullMany(_) | Socket::Subscribe(..) => panic!("it only receives"),
        }
        .expect("open");
    }

    async fn offer(socket: &mut Socket, payload: &Bytes) {
        match socket {
            // This is how it connects again: it waits for its time to do so, and tries once.
            Socket::Push(socket) => {
                drop(SendWrapper::new(socket.send_with_reconnect(vec![payload.clone()])).await);
                drop(socket.flush().await);
            }
            _ => panic!("it is not asked for this"),
        }
    }

    async fn flush(socket: &mut Socket) {
        if let Socket::Push(socket) = socket {
            socket.flush().await.expect("open");
        }
    }

    async fn receive(socket: &mut Socket) -> Bytes {
        match socket {
            Socket::Pull(socket, parts) => {
                parts.clear();
                assert!(socket.recv_into(parts).await.expect("open"), "the peer has left");
                parts.pop().expect("one part")
            }
            Socket::PullMany(socket) => {
                socket.recv().await.expect("open").expect("peers").pop().expect("one part")
            }
            Socket::Subscribe(socket, parts) => {
                parts.clear();
                assert!(socket.recv_into(parts).await.expect("open"), "the peer has left");
                parts.pop().expect("one part")
            }
            Socket::Ask(socket) => {
                socket.recv().await.expect("open").expect("an answer").pop().expect("one part")
            }
            Socket::Answer(socket) => {
                socket.recv().await.expect("open").expect("a question").pop().expect("one part")
            }
            Socket::Push(_) | Socket::Publish(_) => panic!("it only sends"),
        }
    }

    async fn send_on(socket: &mut Socket, message: Bytes) {
        match socket {
            Socket::Answer(socket) => socket.send(vec![message]).await.expect("open"),
            _ => panic!("it plays no proxy"),
        }
    }
}

/// With a single thread that publishes, what is dropped reaches nobody, and so can be published again.
async fn publish(socket: &mut PubSocket, payload: Bytes) -> std::io::Result<()> {
    let frames = [payload];
    loop {
        let dropped = socket.drop_count();
        socket.send_frames(&frames).await?;
        if socket.drop_count() == dropped {
            return Ok(());
        }
        std::thread::yield_now();
    }
}
