#![forbid(unsafe_code)]
//! Containers and TTL nodes: which are due, and when (client-protocol §7.7).

use super::*;

const INTERVAL_MS: u64 = 60_000;
const TTL_MS: i64 = 100_000;

/// Clocks of both kinds that start together.
struct Clocks {
    now: Millis,
    wall: WallMillis,
}

impl Clocks {
    fn of(rig: &Rig) -> Clocks {
        Clocks { now: Millis(0), wall: rig.wall }
    }

    /// Both go on by so much; gives what is due then.
    fn pass(&mut self, rig: &mut Rig, ms: u64) -> Vec<String> {
        self.now = self.now.plus(ms);
        self.step(ms as i64);
        self.due(rig)
    }

    /// The wall clock alone is set.
    fn step(&mut self, ms: i64) {
        self.wall = WallMillis(self.wall.0 + ms);
    }

    fn due(&self, rig: &mut Rig) -> Vec<String> {
        let paths = rig.pipeline.reap(self.now, self.wall);
        paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    }
}

fn with(change: impl Fn(&mut ReaperSettings)) -> Rig {
    let mut settings = settings();
    change(&mut settings.reaper);
    Rig::with(settings)
}

#[test]
fn a_container_is_due_once_it_has_lost_its_last_child() {
    let mut rig = Rig::new();
    let mut clocks = Clocks::of(&rig);
    for request in [container("/unused"), container("/used"), create("/used/x", 0), container("/left")] {
        rig.run(ONE, &request);
    }
    for request in [create("/left/x", 0), delete("/left/x", -1), create("/plain", 0)] {
        rig.run(ONE, &request);
    }
    assert_eq!(clocks.due(&mut rig), [""; 0], "the first look is an interval away");
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS - 1), [""; 0]);
    assert_eq!(clocks.pass(&mut rig, 1), ["/left"]);
    assert_eq!(clocks.pass(&mut rig, 1), [""; 0], "and the next one too");
    rig.run(ONE, &delete("/used/x", -1));
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), ["/left", "/used"], "asked for until it is gone");
    assert_eq!(rig.run(SessionId::NONE, &Request::DeleteContainer(Some(b"/left"))).err, 0);
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), ["/used"]);
    // One that was found and used again before its turn stays.
    rig.prepare(ONE, &create("/used/y", 0));
    assert_eq!(
        rig.code(SessionId::NONE, &Request::DeleteContainer(Some(b"/used"))),
        ErrorCode::NotEmpty.code()
    );
    rig.apply_all();
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), [""; 0]);
}

#[test]
fn a_container_that_was_never_used_is_due_only_where_that_is_asked_for() {
    let mut rig = with(|reaper| reaper.max_never_used_ms = 90_000);
    rig.run(ONE, &container("/unused"));
    let mut clocks = Clocks::of(&rig);
    clocks.due(&mut rig);
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), [""; 0]);
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), ["/unused"]);
}

#[test]
fn a_ttl_node_is_due_when_it_had_no_child_and_no_write_for_longer_than_its_ttl() {
    let mut rig = Rig::new();
    for request in [with_ttl("/t", TTL_MS), with_ttl("/parent", TTL_MS), create("/parent/x", 0)] {
        rig.run(ONE, &request);
    }
    let mut clocks = Clocks::of(&rig);
    clocks.due(&mut rig);
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), [""; 0]);
    // A write makes it young again.
    rig.wall = clocks.wall;
    rig.run(ONE, &set("/t", b"again", -1));
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), [""; 0]);
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), ["/t"], "its 120th second without a write");
    rig.run(ONE, &delete("/parent/x", -1));
    assert_eq!(
        clocks.pass(&mut rig, INTERVAL_MS),
        ["/parent", "/t"],
        "children keep it, and age all the same"
    );
}

#[test]
fn a_step_of_the_wall_clock_is_no_age() {
    for step in [3_600_000, -3_600_000] {
        let mut rig = Rig::new();
        rig.run(ONE, &with_ttl("/t", TTL_MS));
        let mut clocks = Clocks::of(&rig);
        clocks.due(&mut rig);
        clocks.step(step);
        assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), [""; 0], "{step}: a minute old");
        assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), ["/t"], "{step}: two minutes old");
        clocks.step(-step);
        rig.wall = clocks.wall;
        assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), ["/t"], "{step} and set right: three minutes old");
    }
}

#[test]
fn what_is_written_after_a_step_has_its_own_age() {
    for step in [3_600_000, -3_600_000] {
        let mut rig = Rig::new();
        let mut clocks = Clocks::of(&rig);
        clocks.due(&mut rig);
        clocks.step(step);
        clocks.due(&mut rig);
        rig.wall = clocks.wall;
        rig.run(ONE, &with_ttl("/t", TTL_MS));
        assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), [""; 0], "{step}: a minute old");
        assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), ["/t"], "{step}: two minutes old");
    }
}

/// A txn that was prepared before a step and applied after it carries the old time.
#[test]
fn a_step_ahead_of_the_apply_is_no_age() {
    let mut rig = Rig::new();
    let mut clocks = Clocks::of(&rig);
    clocks.due(&mut rig);
    rig.prepare(ONE, &with_ttl("/t", TTL_MS));
    clocks.step(3_600_000);
    clocks.due(&mut rig);
    rig.apply_all();
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), [""; 0], "a minute old");
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), ["/t"], "two minutes old");
}

#[test]
fn slewing_is_age() {
    let mut rig = Rig::new();
    rig.run(ONE, &with_ttl("/t", TTL_MS));
    let mut clocks = Clocks::of(&rig);
    clocks.due(&mut rig);
    clocks.step(900);
    clocks.pass(&mut rig, INTERVAL_MS);
    clocks.step(900);
    // 101.8 s by the wall clock, 100 s by the other.
    assert_eq!(clocks.pass(&mut rig, 40_000), [""; 0], "the next look is an interval away");
    assert_eq!(clocks.pass(&mut rig, 20_000), ["/t"]);
}

#[test]
fn a_look_takes_no_more_than_its_share_of_a_minute() {
    let mut rig = with(|reaper| (reaper.max_per_minute, reaper.check_interval_ms) = (4, 30_000));
    for path in ["/a", "/b", "/c"] {
        rig.run(ONE, &with_ttl(path, 1));
    }
    let mut clocks = Clocks::of(&rig);
    clocks.due(&mut rig);
    assert_eq!(clocks.pass(&mut rig, 30_000), ["/a", "/b"]);
    // At least one, however few a minute has.
    let mut rig = with(|reaper| reaper.max_per_minute = 0);
    rig.run(ONE, &with_ttl("/a", 1));
    let mut clocks = Clocks::of(&rig);
    clocks.due(&mut rig);
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), ["/a"]);
}

#[test]
fn what_an_image_holds_is_found_again() {
    let mut rig = Rig::new();
    for request in
        [container("/c"), create("/c/x", 0), delete("/c/x", -1), with_ttl("/t", 1), create("/p", 0)]
    {
        rig.run(ONE, &request);
    }
    let wall = rig.wall;
    let mut rig = Rig::from_image(&rig.image(), settings());
    let mut clocks = Clocks { now: Millis(0), wall };
    clocks.due(&mut rig);
    assert_eq!(clocks.pass(&mut rig, INTERVAL_MS), ["/c", "/t"]);
}
