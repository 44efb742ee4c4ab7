//! Something between two ends that cuts their connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::support::within;

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// With a RST to both ends.
    Reset,
    /// With a FIN, to the end that is dialled first. What they go on sending is swallowed.
    Fin,
}

/// What happens to one connection.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Bytes that pass, both directions together, before it is cut.
    bytes: usize,
    cut: Cut,
}

impl Plan {
    fn draw(cuts: usize, bytes: usize, seed: u64) -> Vec<Self> {
        /// What both ends say to introduce themselves: the first connections break off there.
        const INTRODUCTION: usize = 44;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut points: Vec<usize> = (2..cuts).map(|_| random.usize(..bytes)).collect();
        points.sort_unstable();
        let early = [random.usize(1..INTRODUCTION), random.usize(1..INTRODUCTION)];
        let gaps = points.iter().scan(0, |last, point| Some(point - core::mem::replace(last, *point)));
        early
            .into_iter()
            .chain(gaps)
            .enumerate()
            .map(|(number, bytes)| Self {
                bytes: bytes.max(1),
                cut: if number % 2 == 0 { Cut::Reset } else { Cut::Fin },
            })
            .collect()
    }
}

/// Passes connections on, and cuts the first of them after some bytes each, wherever in a frame that may be.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    resets: AtomicUsize,
    fins: AtomicUsize,
}

impl Proxy {
    /// Listens at a port of its own, connects to `target`, and cuts `cuts` connections, at random points of the first
    /// `bytes` bytes that pass.
    pub(crate) fn start(runtime: &Runtime, target: u16, cuts: usize, bytes: usize, seed: u64) -> Self {
        let mut plans = Plan::draw(cuts, bytes, seed).into_iter();
        let listener = within(runtime, "a free port", TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let counts = Arc::<Counts>::default();
        let counting = counts.clone();
        runtime.spawn(async move {
            loop {
                let (near, _) = listener.accept().await.expect("it listens");
                // A target that is not there has its reasons.
                if let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await {
                    tokio::spawn(serve(near, far, plans.next(), counting.clone()));
                }
            }
        });
        Self { port, counts }
    }

    /// How many connections were cut with a RST, and how many with a FIN.
    pub(crate) fn cuts(&self) -> (usize, usize) {
        (self.counts.resets.load(Ordering::Relaxed), self.counts.fins.load(Ordering::Relaxed))
    }
}

async fn serve(mut near: TcpStream, mut far: TcpStream, plan: Option<Plan>, counts: Arc<Counts>) {
    let left = AtomicUsize::new(plan.map_or(usize::MAX, |plan| plan.bytes));
    let over = Notify::new();
    {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        let ends = async {
            tokio::join!(pass(near_read, far_write, &left, &over), pass(far_read, near_write, &left, &over))
        };
        tokio::select! {
            _ = ends => return,
            () = over.notified() => {}
        }
    }
    match plan.expect("only a plan ends").cut {
        Cut::Reset => {
            counts.resets.fetch_add(1, Ordering::Relaxed);
            for stream in [&near, &far] {
                // An end that has gone needs no reset.
                let _ = stream.set_zero_linger();
            }
        }
        Cut::Fin => {
            counts.fins.fetch_add(1, Ordering::Relaxed);
            // A Python that listens refuses whoever comes back before it has noticed, and one that has not heard the
            // whole introduction never hangs up.
            let _ = tokio::time::timeout(Duration::from_secs(1), hang_up(far)).await;
            hang_up(near).await;
        }
    }
}

/// Passes bytes on to the end of the stream, or until none are left to pass.
async fn pass(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    left: &AtomicUsize,
    over: &Notify,
) {
    let mut buffer = vec![0; 4_096];
    while let Ok(read @ 1..) = reader.read(&mut buffer).await {
        let before = left.load(Ordering::Relaxed);
        let passed = read.min(before);
        left.store(before - passed, Ordering::Relaxed);
        if writer.write_all(&buffer[..passed]).await.is_err() {
            break;
        }
        if before == passed {
            over.notify_one();
            return std::future::pending().await;
        }
    }
    // It may have gone.
    let _ = writer.shutdown().await;
}

async fn hang_up(mut stream: TcpStream) {
    // It may have gone.
    let _ = stream.shutdown().await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}
