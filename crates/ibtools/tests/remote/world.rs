//! A store in a bucket, and a proxy before it.
#![allow(dead_code, clippy::unwrap_used, reason = "shared by tests, each of which uses a part")]

use std::process::Command;

use testing::noise;
use testing::proxy::{Exchange, Proxy};
use testing::servers::{BUCKET, KEY, SECRET, shared_seaweedfs};

use super::common::{Place, Run, run};

/// A server, a proxy before it, and a place to work in.
pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) proxy: Proxy,
    /// The store, which no other test has.
    store: String,
}

impl World {
    pub(crate) fn new() -> Option<World> {
        let proxy = Proxy::before(shared_seaweedfs()?.address);
        let store = format!("s3://{BUCKET}/{}", std::thread::current().name().unwrap());
        Some(World { place: Place::new(), proxy, store })
    }

    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = self.place.command(&args.replace("STORE", &self.store));
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_ENDPOINT_URL", self.proxy.url());
        command.env("HOME", self.place.path("")).env("XDG_CACHE_HOME", self.place.path("cache"));
        command
    }

    pub(crate) fn ibtools(&self, args: &str) -> Run {
        run(&mut self.command(args))
    }

    /// What a command that succeeds asks of the server.
    pub(crate) fn asked(&self, args: &str) -> Vec<Exchange> {
        self.proxy.take();
        self.ibtools(args).good();
        self.proxy.take().0
    }

    pub(crate) fn backed_up() -> Option<World> {
        let world = World::new()?;
        let place = &world.place;
        for file in 0..40 {
            place.write(&format!("tree/dir{}/{file}", file % 4), noise(file, 100_000));
        }
        place.write("tree/dir1/ten", noise(99, 10_000));
        place.write("tree/note", "a word");
        world.ibtools("init STORE").good();
        world.ibtools("backup tree STORE").good();
        Some(world)
    }
}
