//! What each process of a comparison does.

use std::fs;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::libraries::{self, aiomsg};
use crate::library::{Library, Name, Role, Way};

/// How long messages flow before they are counted.
const WARM_UP: Duration = Duration::from_millis(200);

/// How many sockets are at the end that has several.
pub const MANY: usize = 8;

#[derive(Debug, Args)]
pub struct Arguments {
    pub library: Name,
    pub task: Task,
    /// A host and a port; of the back, a proxy has the next port.
    #[arg(long)]
    pub address: String,
    /// The length of a message.
    #[arg(long, default_value_t = 16)]
    pub size: usize,
    /// How long to count.
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Binds, and counts what comes.
    Pull,
    /// Connects, and sends until it is stopped.
    Push,
    /// Connects with eight sockets, and sends on each in turn until it is stopped.
    PushMany,
    /// Binds, waits for eight subscribers, and publishes numbered messages until it is stopped.
    Publish,
    /// Connects with eight sockets, and counts what comes.
    SubscribeMany,
    /// Binds, and sends back what comes until it is stopped.
    Answer,
    /// Connects, and measures round trips.
    Ask,
    /// Binds twice, and sends on what comes until it is stopped.
    Proxy,
    /// Connects, and counts what comes.
    PullFromProxy,
}

/// What a process has measured.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Measured {
    Rate {
        messages_per_second: f64,
        /// Of the numbered messages, those that were missing.
        lost: u64,
    },
    RoundTrip {
        p50_us: f64,
        p99_us: f64,
        p999_us: f64,
    },
}

/// Tells the program that started this one that others may connect.
pub fn say_ready() {
    println!("ready");
    io::stdout().flush().expect("somebody listens");
}

pub fn run(arguments: &Arguments) {
    // Whoever is left behind by a comparison that was broken off ends by itself.
    std::thread::spawn(|| {
        let parent = || {
            fs::read_to_string("/proc/self/stat")
                .ok()
                .and_then(|stat| Some(stat.rsplit_once(')')?.1.split(' ').nth(2)?.to_owned()))
        };
        let first = parent();
        while parent() == first {
            std::thread::sleep(Duration::from_secs(1));
        }
        std::process::exit(1);
    });
    match arguments.library {
        Name::Raw => perform::<libraries::raw::Raw>(arguments),
        Name::Aiomsg => perform::<aiomsg::Aiomsg<aiomsg::OneThread>>(arguments),
        Name::AiomsgMulti => perform::<aiomsg::Aiomsg<aiomsg::TwoThreads>>(arguments),
        Name::AiomsgSmol => perform::<aiomsg::Aiomsg<aiomsg::OnSmol>>(arguments),
        Name::AiomsgAcknowledged => perform::<aiomsg::Aiomsg<aiomsg::Acknowledged>>(arguments),
        #[cfg(feature = "zmq")]
        Name::Zmq => perform::<libraries::zmq::Zmq>(arguments),
        #[cfg(feature = "omq")]
        Name::Omq => perform::<libraries::omq::Omq<false>>(arguments),
        #[cfg(feature = "omq")]
        Name::OmqTry => perform::<libraries::omq::Omq<true>>(arguments),
        #[cfg(feature = "monocoque")]
        Name::Monocoque => perform::<libraries::monocoque::Monocoque>(arguments),
        #[cfg(feature = "zeromq")]
        Name::Zeromq => perform::<libraries::zeromq::Zeromq>(arguments),
        #[cfg(feature = "rzmq")]
        Name::Rzmq => perform::<libraries::rzmq::Rzmq>(arguments),
        #[allow(unreachable_patterns, reason = "with all features, all are there")]
        name => panic!("{name:?} was not built in"),
    }
}

fn perform<L: Library>(arguments: &Arguments) {
    let measured = L::block_on(async {
        let Arguments { address, size, .. } = arguments;
        match arguments.task {
            Task::Pull => {
                Some(count::<L>(arguments, vec![L::open(Role::Pull, Way::Bind, address).await]).await)
            }
            Task::PullFromProxy => {
                Some(count::<L>(arguments, vec![L::open(Role::Pull, Way::Connect, address).await]).await)
            }
            Task::SubscribeMany => {
                Some(count::<L>(arguments, open_many::<L>(Role::Subscribe, address).await).await)
            }
            Task::Push => {
                let socket = L::open(Role::Push, Way::Connect, address).await;
                send::<L>(*size, vec![socket]).await
            }
            Task::PushMany => send::<L>(*size, open_many::<L>(Role::Push, address).await).await,
            Task::Publish => publish::<L>(arguments).await,
            Task::Answer => answer::<L>(address).await,
            Task::Ask => Some(ask::<L>(arguments).await),
            Task::Proxy => proxy::<L>(address).await,
        }
    });
    if let Some(measured) = measured {
        println!("{}", serde_json::to_string(&measured).expect("numbers"));
        // What is still on its way is of no interest.
        std::process::exit(0);
    }
}

async fn open_many<L: Library>(role: Role, address: &str) -> Vec<L::Socket> {
    let mut sockets = Vec::new();
    for _ in 0..MANY {
        sockets.push(L::open(role, Way::Connect, address).await);
    }
    sockets
}

async fn send<L: Library>(size: usize, mut sockets: Vec<L::Socket>) -> Option<Measured> {
    let payload = Bytes::from(vec![7; size]);
    loop {
        for socket in &mut sockets {
            L::send(socket, payload.clone()).await;
        }
    }
}

async fn publish<L: Library>(arguments: &Arguments) -> Option<Measured> {
    let role = Role::Publish { subscribers: MANY };
    let mut socket = L::open(role, Way::Bind, &arguments.address).await;
    for number in 0_u64.. {
        let mut payload = vec![7; arguments.size];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        L::send(&mut socket, payload.into()).await;
    }
    None
}

/// Counts messages, one of each socket in turn, for as long as was asked for.
async fn count<L: Library>(arguments: &Arguments, mut sockets: Vec<L::Socket>) -> Measured {
    // Asking what time it is must cost nothing beside a message.
    let stride = (64 * 1024 / arguments.size).clamp(1, 1_024);
    // What is raw sends the same frame again and again.
    let numbered = arguments.task == Task::SubscribeMany && arguments.library != Name::Raw;
    let mut expected = vec![None; sockets.len()];
    let mut lost = 0;
    let mut counted = 0_u64;
    let mut start: Option<Instant> = None;
    let mut began = None;
    loop {
        for _ in 0..stride {
            for (socket, expected) in sockets.iter_mut().zip(&mut expected) {
                let message = L::receive(socket).await;
                let payload = message.as_ref();
                assert_eq!(payload.len(), arguments.size, "a message of another size");
                if numbered {
                    let number = u64::from_be_bytes(payload[..8].try_into().expect("eight bytes"));
                    lost += number - expected.unwrap_or(number);
                    *expected = Some(number + 1);
                }
            }
        }
        let now = Instant::now();
        match start {
            None if now - *began.get_or_insert(now) >= WARM_UP => start = Some(now),
            None => {}
            Some(start) => {
                counted += (stride * sockets.len()) as u64;
                let seconds = (now - start).as_secs_f64();
                if seconds >= arguments.seconds {
                    return Measured::Rate { messages_per_second: counted as f64 / seconds, lost };
                }
            }
        }
    }
}

async fn answer<L: Library>(address: &str) -> Option<Measured> {
    let mut socket = L::open(Role::Answer, Way::Bind, address).await;
    loop {
        let message = L::receive(&mut socket).await;
        L::send_on(&mut socket, message).await;
        L::flush(&mut socket).await;
    }
}

async fn ask<L: Library>(arguments: &Arguments) -> Measured {
    let mut socket = L::open(Role::Ask, Way::Connect, &arguments.address).await;
    let payload = Bytes::from(vec![7; arguments.size]);
    let mut histogram = Histogram::<u64>::new(3).expect("three digits");
    let began = Instant::now();
    let mut before = began;
    while before - began < WARM_UP + Duration::from_secs_f64(arguments.seconds) {
        L::send(&mut socket, payload.clone()).await;
        L::flush(&mut socket).await;
        L::receive(&mut socket).await;
        let now = Instant::now();
        if before - began >= WARM_UP {
            histogram.record((now - before).as_nanos() as u64).expect("no longer than an hour");
        }
        before = now;
    }
    let micros = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    Measured::RoundTrip { p50_us: micros(0.5), p99_us: micros(0.99), p999_us: micros(0.999) }
}

/// The address of the port behind that of `address`.
pub fn back_of(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').expect("a host and a port");
    format!("{host}:{}", port.parse::<u16>().expect("a port") + 1)
}

async fn proxy<L: Library>(address: &str) -> Option<Measured> {
    let mut back = L::open(Role::Push, Way::Bind, &back_of(address)).await;
    let mut front = L::open(Role::Pull, Way::Bind, address).await;
    loop {
        let message = L::receive(&mut front).await;
        L::send_on(&mut back, message).await;
    }
}
