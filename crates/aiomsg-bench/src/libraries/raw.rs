//! Frames over TCP, and nothing else. The sender writes frames that it has made before, 128 KiB at a time; so nobody can be
//! faster, but for what the caches of the processor decide.

use std::future::{Future, poll_fn};
use std::io;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::on_one_thread;
use crate::library::{Library, Role, Way};

/// Two packets of the loopback interface. A third one, with a few bytes, would cost as much as each of these.
const CHUNK: usize = 2 * 65_483;
const READ: usize = 256 * 1024;

pub struct Raw;

pub struct Socket {
    streams: Vec<Stream>,
    /// The stream that was read last.
    current: usize,
    role: Role,
    address: String,
    /// As many frames as fit into a chunk, all alike; and how many of them have been sent.
    chunk: Bytes,
    frame: usize,
    filled: usize,
    /// What was read of the current stream.
    buffer: BytesMut,
}

struct Stream {
    tcp: TcpStream,
    /// The start of a frame that was read before another stream was. All others share one buffer.
    rest: Vec<u8>,
}

impl Stream {
    fn new(tcp: TcpStream) -> Self {
        tcp.set_nodelay(true).expect("a TCP stream");
        Self { tcp, rest: Vec::new() }
    }
}

impl Socket {
    /// Takes up the next stream that has something to read.
    async fn turn(&mut self) {
        let count = self.streams.len();
        let next = poll_fn(|context| {
            (1..=count)
                .map(|step| (self.current + step) % count)
                .find(|at| self.streams[*at].tcp.poll_read_ready(context).is_ready())
                .map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        self.streams[self.current].rest = self.buffer.to_vec();
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.streams[next].rest);
        self.current = next;
    }
}

impl Library for Raw {
    type Socket = Socket;
    type Message = Bytes;

    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        on_one_thread(task)
    }

    async fn open(role: Role, way: Way, address: &str) -> Socket {
        let mut streams = Vec::new();
        match way {
            Way::Connect => {
                streams.push(Stream::new(TcpStream::connect(address).await.expect("somebody listens")));
            }
            Way::Bind => {
                let listener = TcpListener::bind(address).await.expect("a free port");
                crate::ends::say_ready();
                let peers = match role {
                    Role::Publish { subscribers } => subscribers,
                    Role::Pull { senders } | Role::Hold { senders } => senders,
                    _ => 1,
                };
                for _ in 0..peers {
                    streams.push(Stream::new(listener.accept().await.expect("a peer").0));
                }
            }
        }
        Socket {
            streams,
            current: 0,
            role,
            address: address.to_owned(),
            chunk: Bytes::new(),
            frame: 0,
            filled: 0,
            buffer: BytesMut::new(),
        }
    }

    async fn send(socket: &mut Socket, payload: &Bytes) {
        if socket.chunk.is_empty() {
            let frame = framed(payload);
            socket.frame = frame.len();
            // Four of 64 KiB go in five packets.
            let count = if frame.len() * 2 > CHUNK { 4 } else { CHUNK / frame.len() };
            socket.chunk = frame.repeat(count).into();
        }
        socket.filled += socket.frame;
        if socket.filled >= socket.chunk.len() || matches!(socket.role, Role::Ask | Role::Answer | Role::Idle)
        {
            for stream in &mut socket.streams {
                stream.tcp.write_all(&socket.chunk[..socket.filled]).await.expect("the peer reads");
            }
            socket.filled = 0;
        }
    }

    async fn offer(socket: &mut Socket, payload: &Bytes) {
        let stream = &mut socket.streams[0];
        let sent = stream.tcp.try_write(&framed(payload));
        if sent.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
            && let Ok(tcp) = TcpStream::connect(&socket.address).await
        {
            *stream = Stream::new(tcp);
        }
    }

    async fn receive(socket: &mut Socket) -> Bytes {
        loop {
            if let Some(prefix) = socket.buffer.first_chunk() {
                let length = u32::from_be_bytes(*prefix) as usize;
                if socket.buffer.len() >= 4 + length {
                    socket.buffer.advance(4);
                    return socket.buffer.split_to(length).freeze();
                }
            }
            if socket.streams.len() > 1 {
                socket.turn().await;
            }
            let size = if matches!(socket.role, Role::Ask | Role::Answer) { 4_096 } else { READ };
            socket.buffer.reserve(size);
            if socket.streams[socket.current].tcp.read_buf(&mut socket.buffer).await.expect("the peer writes")
                == 0
            {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn send_on(socket: &mut Socket, message: Bytes) {
        Self::send(socket, &message).await;
    }
}

fn framed(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[..], payload].concat()
}
