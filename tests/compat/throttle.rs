#![forbid(unsafe_code)]
//! Admission of connections and requests (operations §11.1, §11.2), and that long answers let others pass.

use super::{Group, Scene, Setup, line};
use crate::support::client::Client;
use crate::support::raw::Hello;

/// A value of `mntr`.
fn counted(s: &Scene, key: &str) -> String {
    let text = s.word("mntr");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("zk_{key}\t")));
    line.unwrap_or_else(|| panic!("no {key} in {text}")).to_owned()
}

line!(
    t01_a_connect_request_without_a_token_is_closed,
    Group::Fresh(Setup {
        keys: &[
            ("4lw.commands.whitelist", "*"),
            ("connection_throttle_tokens", "3"),
            ("connection_throttle_fill_time", "1000000000"),
        ],
        properties: &[],
    }),
    |s| {
        let clients: Vec<Client> = (0..3).map(|_| Client::open(s)).collect();
        assert!(Client::greet(s, &Hello::default()).is_none(), "three tokens, and none comes back");
        assert!(Client::greet(s, &Hello::renewal(&clients[0].session)).is_none());
        assert_eq!(counted(s, "connection_rejected"), "2");
        assert_eq!(counted(s, "max_connection_token_deficit"), "3");
        assert_eq!(counted(s, "connection_drop_probability"), "0.0");
    }
);

line!(
    t02_with_weights_a_renewal_costs_less_than_a_new_session,
    Group::Fresh(Setup {
        keys: &[
            ("connection_throttle_tokens", "2"),
            ("connection_throttle_fill_time", "1000000000"),
            ("connection_throttle_weight_enabled", "true"),
        ],
        properties: &[],
    }),
    |s| {
        // Two new sessions are six tokens: three are left behind the first, one behind its renewal.
        let session = Client::open(s).abandon();
        drop(Client::resume(s, &session));
        assert!(Client::greet(s, &Hello::default()).is_none());
    }
);

line!(
    t03_an_empty_bucket_makes_drops_likely,
    Group::Fresh(Setup {
        keys: &[
            ("4lw.commands.whitelist", "*"),
            ("connection_throttle_tokens", "1"),
            ("connection_throttle_fill_time", "1000000000"),
            ("connection_throttle_freeze_time", "0"),
            ("connection_throttle_drop_increase", "0.25"),
        ],
        properties: &[],
    }),
    |s| {
        let _only = Client::open(s);
        while counted(s, "connection_drop_probability") != "1.0" {
            assert!(Client::greet(s, &Hello::default()).is_none());
        }
    }
);
