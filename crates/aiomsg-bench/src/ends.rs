//! What each process of a comparison does.

use std::fs;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use smol::Timer;

use crate::libraries::{self, aiomsg};
use crate::library::{Library, Name, Role, Way};
use crate::measured::{Measured, Metric};

/// How long messages flow before they are counted.
const WARM_UP: Duration = Duration::from_millis(200);

/// How long a socket is left alone before its memory is measured.
const SETTLING: Duration = Duration::from_secs(1);

/// Sockets that are opened in one go; more would not fit into the queues of a listener.
const GO: usize = 4;

#[derive(Clone, Debug, Args)]
pub struct Arguments {
    pub library: Name,
    pub task: Task,
    /// A host and a port; of the back, a proxy has the next port.
    #[arg(long)]
    pub address: String,
    /// The length of a message.
    #[arg(long, default_value_t = 16)]
    pub size: usize,
    /// How many connections there are to be; or sockets, at the end that has several.
    #[arg(long, default_value_t = 1)]
    pub peers: usize,
    /// How long to count.
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Binds, and counts what comes.
    Pull,
    /// Connects, with several sockets if so asked, and sends on each in turn until it is stopped.
    Push,
    /// Binds, waits for its subscribers, and publishes numbered messages until it is stopped.
    Publish,
    /// Connects, with several sockets, and counts what comes.
    Subscribe,
    /// Binds, and sends back what comes until it is stopped.
    Answer,
    /// Connects, and measures round trips.
    Ask,
    /// Binds twice, and sends on what comes until it is stopped.
    Proxy,
    /// Connects, and counts what comes.
    PullFromProxy,
    /// Connects with many sockets, and sends one message on each.
    Idle,
    /// Binds, and measures what connections cost that do nothing.
    Hold,
    /// Connects, and sends a message every millisecond, without waiting for a peer, until it is stopped.
    Offer,
    /// Binds, measures how long it takes until a message comes, and is gone.
    First,
}

/// When this process could be connected to, and how much memory it had then.
static READY: OnceLock<(Instant, u64)> = OnceLock::new();

/// Tells the program that started this one that others may connect, or that it has done so.
pub fn say_ready() {
    READY.get_or_init(|| (Instant::now(), memory()));
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
    raise_limit();
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
    let arguments = arguments.clone();
    let measured = L::block_on(async move {
        let arguments = &arguments;
        let Arguments { address, size, .. } = arguments;
        match arguments.task {
            Task::Pull => {
                let role = Role::Pull { senders: arguments.peers };
                Some(count::<L>(arguments, vec![L::open(role, Way::Bind, address).await]).await)
            }
            Task::PullFromProxy => {
                let role = Role::Pull { senders: 1 };
                Some(count::<L>(arguments, vec![L::open(role, Way::Connect, address).await]).await)
            }
            Task::Subscribe => {
                Some(count::<L>(arguments, open_many::<L>(Role::Subscribe, arguments).await).await)
            }
            Task::Push => send::<L>(*size, open_many::<L>(Role::Push, arguments).await).await,
            Task::Publish => publish::<L>(arguments).await,
            Task::Answer => answer::<L>(address).await,
            Task::Ask => Some(ask::<L>(arguments).await),
            Task::Proxy => proxy::<L>(address).await,
            Task::Idle => idle::<L>(arguments).await,
            Task::Hold => Some(hold::<L>(arguments).await),
            Task::Offer => offer::<L>(arguments).await,
            Task::First => Some(first::<L>(address).await),
        }
    });
    if let Some(measured) = measured {
        println!("{}", serde_json::to_string(&measured).expect("numbers"));
        // What is still on its way is of no interest.
        std::process::exit(0);
    }
}

async fn open_many<L: Library>(role: Role, arguments: &Arguments) -> Vec<L::Socket> {
    let mut sockets = Vec::new();
    for _ in 0..arguments.peers {
        sockets.push(L::open(role, Way::Connect, &arguments.address).await);
    }
    sockets
}

async fn send<L: Library>(size: usize, mut sockets: Vec<L::Socket>) -> Option<Measured> {
    let payload = Bytes::from(vec![7; size]);
    loop {
        for socket in &mut sockets {
            L::send(socket, &payload).await;
        }
    }
}

async fn publish<L: Library>(arguments: &Arguments) -> Option<Measured> {
    let role = Role::Publish { subscribers: arguments.peers };
    let mut socket = L::open(role, Way::Bind, &arguments.address).await;
    for number in 0_u64.. {
        let mut payload = vec![7; arguments.size];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        L::send(&mut socket, &payload.into()).await;
    }
    None
}

/// Counts messages, one of each socket in turn, for as long as was asked for.
async fn count<L: Library>(arguments: &Arguments, mut sockets: Vec<L::Socket>) -> Measured {
    // Asking what time it is must cost nothing beside a message.
    let stride = (64 * 1024 / arguments.size).clamp(1, 1_024);
    // What is raw sends the same frame again and again.
    let numbered = arguments.task == Task::Subscribe && arguments.library != Name::Raw;
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
                    return [(Metric::Rate, counted as f64 / seconds), (Metric::Lost, lost as f64)].into();
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
        L::send(&mut socket, &payload).await;
        L::flush(&mut socket).await;
        L::receive(&mut socket).await;
        let now = Instant::now();
        if before - began >= WARM_UP {
            histogram.record((now - before).as_nanos() as u64).expect("no longer than an hour");
        }
        before = now;
    }
    [(Metric::P50, 0.5), (Metric::P99, 0.99), (Metric::P999, 0.999)]
        .map(|(metric, quantile)| (metric, histogram.value_at_quantile(quantile) as f64 / 1_000.0))
        .into()
}

/// The address of the port behind that of `address`.
pub fn back_of(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').expect("a host and a port");
    format!("{host}:{}", port.parse::<u16>().expect("a port") + 1)
}

async fn proxy<L: Library>(address: &str) -> Option<Measured> {
    let mut back = L::open(Role::Push, Way::Bind, &back_of(address)).await;
    let mut front = L::open(Role::Pull { senders: 1 }, Way::Bind, address).await;
    loop {
        let message = L::receive(&mut front).await;
        L::send_on(&mut back, message).await;
    }
}

async fn idle<L: Library>(arguments: &Arguments) -> Option<Measured> {
    let mut sockets = Vec::new();
    for number in 1..=arguments.peers {
        let mut socket = L::open(Role::Idle, Way::Connect, &arguments.address).await;
        L::send(&mut socket, &vec![7; arguments.size].into()).await;
        L::flush(&mut socket).await;
        sockets.push(socket);
        if number % GO == 0 {
            Timer::after(L::PAUSE).await;
        }
    }
    say_ready();
    std::future::pending().await
}

/// Memory is what the process has of its own, what the system has for its sockets not counted.
async fn hold<L: Library>(arguments: &Arguments) -> Measured {
    let peers = arguments.peers;
    let mut socket = L::open(Role::Hold { senders: peers }, Way::Bind, &arguments.address).await;
    // Who has sent something is connected.
    for _ in 0..peers {
        L::receive(&mut socket).await;
    }
    Timer::after(SETTLING).await;
    let (_, before) = READY.get().expect("it is bound");
    let each = memory().saturating_sub(*before) as f64 / peers as f64;
    let (start, used) = (Instant::now(), processor_time());
    // Long enough for a heartbeat of each, unless it is to be quick.
    Timer::after(Duration::from_secs_f64(5.0 * arguments.seconds)).await;
    let used = processor_time() - used;
    let load = used.as_secs_f64() * 1_000.0 / start.elapsed().as_secs_f64();
    let open = fs::read_dir("/proc/self/fd").expect("Linux").count();
    assert!(open >= peers, "connections were lost: {open} descriptors are left");
    [(Metric::Memory, each), (Metric::Cpu, load)].into()
}

async fn offer<L: Library>(arguments: &Arguments) -> Option<Measured> {
    let mut socket = L::open(Role::Push, Way::Connect, &arguments.address).await;
    let payload = Bytes::from(vec![7; arguments.size]);
    loop {
        L::offer(&mut socket, &payload).await;
        Timer::after(Duration::from_millis(1)).await;
    }
}

async fn first<L: Library>(address: &str) -> Measured {
    let mut socket = L::open(Role::Pull { senders: 1 }, Way::Bind, address).await;
    L::receive(&mut socket).await;
    let (ready, _) = READY.get().expect("it is bound");
    [(Metric::Reconnect, ready.elapsed().as_secs_f64() * 1_000.0)].into()
}

/// The bytes of memory that this process has and shares with no file.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let anonymous =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5 or newer");
    anonymous.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

/// The time that all threads of this process have been running.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Lets this process have as many descriptors as it may.
fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // A refusal shows when they run out.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
