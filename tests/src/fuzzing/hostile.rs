//! Strangers in numbers that say anything, and a well-behaved peer that must not notice.

use core::time::Duration;

use aiomsg_proto::{Config, Dialect, Limit, SlowPeer};
use arbitrary::{Arbitrary, Result, Unstructured};

use super::speech::Speech;
use crate::raw::RawId;
use crate::{Chunking, Scene};

/// What strangers do.
#[derive(Arbitrary, Debug)]
enum Deed {
    Come,
    Say(u8, Speech),
    Finish(u8),
    Leave(u8),
    StopReading(u8),
    /// The server says something to everybody.
    Publish(Vec<u8>),
    /// So many milliseconds pass.
    Pass(u8),
    /// So many seconds pass.
    PassLong(u8),
}

/// How many messages, and how many bytes, a server in this target holds at most.
const BOUND: (usize, usize) = (50, 10_000);

fn config(input: &mut Unstructured<'_>) -> Result<Config> {
    let policies = [
        SlowPeer::DropNewest,
        SlowPeer::DropOldest,
        SlowPeer::Disconnect,
        SlowPeer::Block(Duration::from_millis(300)),
    ];
    Ok(Config::default()
        .dialect(*input.choose(&[Dialect::Auto, Dialect::V1])?)
        .slow_peer(*input.choose(&policies)?)
        .max_message(2_000)
        .peer_queue(Limit::new(30, 5_000))
        .send_buffer(Limit::new(BOUND.0, BOUND.1))
        .receive_buffer(Limit::new(BOUND.0, BOUND.1)))
}

/// Whatever they do, the friend is served, and no more memory is spent than is allowed.
pub(super) fn hostile(input: &mut Unstructured<'_>) -> Result<()> {
    let mut scene = Scene::new(input.arbitrary()?, config(input)?);
    if input.arbitrary()? {
        scene.net.set_chunking(Chunking::Whole);
    }
    let mut strangers: Vec<RawId> = Vec::new();
    for deed in input.arbitrary_iter::<Deed>()?.take(60) {
        play(&mut scene, &mut strangers, deed?);
        check_bounds(&scene);
    }
    for stranger in strangers {
        scene.net.close(stranger);
    }
    scene.run_for(Duration::from_secs(1));
    scene.assert_served();
    check_bounds(&scene);
    Ok(())
}

fn play(scene: &mut Scene, strangers: &mut Vec<RawId>, deed: Deed) {
    let who = |number: u8| strangers.get(usize::from(number) % strangers.len().max(1)).copied();
    match deed {
        Deed::Come => strangers.push(scene.stranger_writes(b"")),
        Deed::Say(number, speech) => match who(number) {
            Some(stranger) => scene.net.write(stranger, speech.bytes()),
            None => strangers.push(scene.stranger_writes(speech.bytes())),
        },
        Deed::Finish(number) => who(number).into_iter().for_each(|stranger| scene.net.finish(stranger)),
        Deed::Leave(number) => who(number).into_iter().for_each(|stranger| scene.net.close(stranger)),
        Deed::StopReading(number) => {
            who(number).into_iter().for_each(|stranger| scene.net.set_reading(stranger, false));
        }
        Deed::Publish(payload) => {
            // There may be no room, and the friend gets it otherwise.
            drop(scene.net.send(scene.server, payload));
        }
        Deed::Pass(millis) => scene.run_for(Duration::from_millis(millis.into())),
        Deed::PassLong(seconds) => scene.run_for(Duration::from_secs(u64::from(seconds % 40))),
    }
}

fn check_bounds(scene: &Scene) {
    let metrics = scene.net.node(scene.server).metrics();
    for held in [metrics.send_held, metrics.receive_held] {
        assert!(held.messages <= BOUND.0 && held.bytes <= BOUND.1, "{metrics:?}");
    }
    let unread = scene.net.introduction_high_water(scene.server);
    assert!(unread <= 4_096, "{unread} bytes of one that is not accepted");
}
