// A program on go-zookeeper, run against ZK_SERVER by tests/support/with_server.
package main

import (
	"bytes"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

func main() {
	checks := []check{
		{"create_get_set_delete", createGetSetDelete},
		{"m15_wrong_versions_change_nothing", wrongVersions},
		{"m14_stat_after_every_operation", stat},
		{"m13_sequential_names_only_grow", sequential},
		{"m12_ephemerals_go_with_their_session", ephemerals},
		{"protected_ephemeral_sequential", protected},
		{"children_and_their_watch", children},
		{"m25_exists_and_data_watches", dataWatches},
		{"m26_watches_are_one_shot", oneShot},
		{"multi_succeeds_as_a_whole", multi},
		{"multi_fails_as_a_whole", multiFails},
		{"containers_and_ttl_nodes_go", containersAndTTL},
		{"m17_acls_of_digest", acls},
		{"sync", syncPath},
		{"m01_values_over_the_limit_are_refused", largeValues},
		{"m07_lock_recipe_never_two_holders", lock},
		{"m18_states_through_a_cut", cut},
		{"m24_expired_session_leaves_nothing", expired},
		{"m29_watches_are_set_again_and_catch_up", watchesCatchUp},
		{"m38_session_and_data_survive_sigkill", sigkill},
		{"auth_survives_reconnect", authSurvives},
		{"m19_thousand_requests_on_the_way", pipelined},
		{"ruok", ruok},
		{"cons", cons},
		{"srvr_is_refused_by_its_own_pattern_only", srvr},
	}
	passed, failed := run(checks, os.Args[1:])
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}

func createGetSetDelete() error {
	return with(1, func(folder string, clients []*client) error {
		c, path := clients[0], folder+"/a"
		made, err := c.make(path, "one", 0)
		if err := first(err, equal("path", path, made)); err != nil {
			return err
		}
		_, again := c.make(path, "", 0)
		_, orphan := c.make(folder+"/no/child", "", 0)
		data, _, err := c.Get(path)
		if err := first(err, equal("data", "one", string(data)), equal("create again", zk.ErrNodeExists, again),
			equal("create without a parent", zk.ErrNoNode, orphan),
			equal("delete of a parent", zk.ErrNotEmpty, c.Delete(folder, -1))); err != nil {
			return err
		}
		changed, err := c.Set(path, []byte("two"), 0)
		if err != nil {
			return err
		}
		data, _, err = c.Get(path)
		if err := first(err, equal("version", 1, changed.Version), equal("data", "two", string(data)), c.Delete(path, 1)); err != nil {
			return err
		}
		exists, _, err := c.Exists(path)
		_, _, missing := c.Get(path)
		return first(err, equal("exists", false, exists), equal("get", zk.ErrNoNode, missing))
	})
}

func wrongVersions() error {
	return with(1, func(folder string, clients []*client) error {
		c, path := clients[0], folder+"/a"
		_, err := c.make(path, "one", 0)
		_, set := c.Set(path, []byte("x"), 7)
		_, access := c.SetACL(path, zk.WorldACL(zk.PermRead), 7)
		data, stat, get := c.Get(path)
		return first(err, equal("set", zk.ErrBadVersion, set), equal("delete", zk.ErrBadVersion, c.Delete(path, 7)),
			equal("setACL", zk.ErrBadVersion, access), get, equal("data", "one", string(data)), equal("version", 0, stat.Version))
	})
}

func stat() error {
	return with(1, func(folder string, clients []*client) error {
		c, path := clients[0], folder+"/a"
		if _, err := c.make(path, "one", 0); err != nil {
			return err
		}
		_, fresh, err := c.Exists(path)
		if err := first(err, equal("mzxid", fresh.Czxid, fresh.Mzxid), equal("pzxid", fresh.Czxid, fresh.Pzxid),
			equal("mtime", fresh.Ctime, fresh.Mtime), equal("length", 3, fresh.DataLength)); err != nil {
			return err
		}
		changed, err := c.Set(path, []byte("four"), -1)
		if err := first(err, equal("version", 1, changed.Version), equal("czxid", fresh.Czxid, changed.Czxid)); err != nil {
			return err
		}
		if _, err := c.make(path+"/c", "", 0); err != nil {
			return err
		}
		_, child, err := c.Exists(path + "/c")
		if err != nil {
			return err
		}
		_, parent, err := c.Exists(path)
		return first(err, equal("cversion", 1, parent.Cversion), equal("pzxid", child.Czxid, parent.Pzxid),
			equal("numChildren", 1, parent.NumChildren), equal("mzxid", changed.Mzxid, parent.Mzxid))
	})
}

func sequential() error {
	return with(1, func(folder string, clients []*client) error {
		c := clients[0]
		for number := 0; number < 12; number++ {
			flags := int32(zk.FlagSequence)
			if number%2 == 1 {
				flags |= zk.FlagEphemeral
			}
			name, err := c.make(folder+"/s-", "", flags)
			if err := first(err, equal("name", fmt.Sprintf("%s/s-%010d", folder, number), name)); err != nil {
				return err
			}
			if number == 5 {
				if err := c.Delete(name, -1); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func ephemerals() error {
	return with(2, func(folder string, clients []*client) error {
		watcher, owner := clients[0], clients[1]
		path, err := owner.make(folder+"/e", "", zk.FlagEphemeral)
		if err != nil {
			return err
		}
		_, child := owner.make(path+"/c", "", 0)
		exists, stat, events, err := watcher.ExistsW(path)
		if err := first(err, equal("exists", true, exists), equal("owner", owner.SessionID(), stat.EphemeralOwner),
			equal("a child", zk.ErrNoChildrenForEphemerals, child)); err != nil {
			return err
		}
		owner.Close()
		return event(events, zk.EventNodeDeleted, path)
	})
}

func protected() error {
	return with(1, func(folder string, clients []*client) error {
		path, err := clients[0].CreateProtectedEphemeralSequential(folder+"/p-", nil, zk.WorldACL(zk.PermAll))
		if err == nil && (!strings.Contains(path, "/_c_") || !strings.HasSuffix(path, "-p-0000000000")) {
			err = fmt.Errorf("odd name: %s", path)
		}
		return err
	})
}

func children() error {
	return with(2, func(folder string, clients []*client) error {
		var expected []string
		for i := 0; i < 100; i++ {
			name := fmt.Sprintf("c%03d", i)
			expected = append(expected, name)
			if _, err := clients[0].make(folder+"/"+name, "", 0); err != nil {
				return err
			}
		}
		names, stat, events, err := clients[0].ChildrenW(folder)
		sort.Strings(names)
		if err := first(err, equal("children", expected, names), equal("numChildren", 100, stat.NumChildren)); err != nil {
			return err
		}
		return first(clients[1].Delete(folder+"/c050", -1), event(events, zk.EventNodeChildrenChanged, folder))
	})
}

func dataWatches() error {
	return with(2, func(folder string, clients []*client) error {
		c, other, path := clients[0], clients[1], folder+"/a"
		exists, _, created, err := c.ExistsW(path)
		if err := first(err, equal("exists", false, exists)); err != nil {
			return err
		}
		_, err = other.make(path, "", 0)
		if err := first(err, event(created, zk.EventNodeCreated, path)); err != nil {
			return err
		}
		_, _, changed, err := c.GetW(path)
		if err != nil {
			return err
		}
		_, err = other.Set(path, []byte("x"), -1)
		if err := first(err, event(changed, zk.EventNodeDataChanged, path)); err != nil {
			return err
		}
		_, _, deleted, err := c.GetW(path)
		return first(err, other.Delete(path, -1), event(deleted, zk.EventNodeDeleted, path))
	})
}

func oneShot() error {
	return with(2, func(folder string, clients []*client) error {
		c, other := clients[0], clients[1]
		_, _, events, err := c.GetW(folder)
		if err != nil {
			return err
		}
		_, one := other.Set(folder, nil, -1)
		_, two := other.Set(folder, nil, -1)
		if err := first(one, two, event(events, zk.EventNodeDataChanged, folder)); err != nil {
			return err
		}
		if _, _, err := c.Get(folder); err != nil {
			return err
		}
		// The library closes the channel after the one event.
		if second, open := <-events; open {
			return fmt.Errorf("a second event came: %v", second)
		}
		return nil
	})
}

func multi() error {
	return with(1, func(folder string, clients []*client) error {
		c, path, open := clients[0], folder+"/a", zk.WorldACL(zk.PermAll)
		results, err := c.Multi(
			&zk.CreateRequest{Path: path, Data: []byte("1"), Acl: open},
			&zk.SetDataRequest{Path: path, Data: []byte("2"), Version: 0},
			&zk.CheckVersionRequest{Path: path, Version: 1},
			&zk.CreateRequest{Path: path + "/b", Acl: open},
			&zk.DeleteRequest{Path: path + "/b", Version: -1})
		if err := first(err, equal("results", 5, len(results))); err != nil {
			return err
		}
		data, stat, err := c.Get(path)
		return first(err, equal("name", path, results[0].String), equal("version", 1, results[1].Stat.Version),
			equal("data", "2", string(data)), equal("one zxid", stat.Czxid, stat.Mzxid), equal("cversion", 2, stat.Cversion))
	})
}

func multiFails() error {
	return with(1, func(folder string, clients []*client) error {
		c := clients[0]
		results, err := c.Multi(
			&zk.CreateRequest{Path: folder + "/a", Acl: zk.WorldACL(zk.PermAll)},
			&zk.DeleteRequest{Path: folder + "/missing", Version: -1},
			&zk.SetDataRequest{Path: folder, Version: -1})
		if err := first(equal("error", zk.ErrNoNode, err), equal("results", 3, len(results))); err != nil {
			return err
		}
		names, _, err := c.Children(folder)
		return first(err, equal("children", []string{}, names), equal("its own error", zk.ErrNoNode, results[1].Error))
	})
}

func containersAndTTL() error {
	return with(1, func(folder string, clients []*client) error {
		c, open := clients[0], zk.WorldACL(zk.PermAll)
		_, err := c.CreateContainer(folder+"/c", nil, zk.FlagContainer, open)
		_, ttl := c.CreateTTL(folder+"/t", nil, zk.FlagTTL, open, 300*time.Millisecond)
		_, inside := c.make(folder+"/c/child", "", 0)
		if err := first(err, ttl, inside, c.Delete(folder+"/c/child", -1)); err != nil {
			return err
		}
		return eventually("their end", func() bool {
			names, _, err := c.Children(folder)
			return err == nil && len(names) == 0
		})
	})
}

func acls() error {
	return with(2, func(folder string, clients []*client) error {
		ann, bob, path := clients[0], clients[1], folder+"/mine"
		mine := zk.DigestACL(zk.PermAll, "ann", "secret")
		if _, err := ann.Create(path, []byte("x"), 0, mine); err != nil {
			return err
		}
		_, _, refused := bob.Get(path)
		if err := first(equal("get", zk.ErrNoAuth, refused), ann.AddAuth("digest", []byte("ann:secret"))); err != nil {
			return err
		}
		data, _, err := ann.Get(path)
		acl, stat, access := ann.GetACL(path)
		if err := first(err, access, equal("data", "x", string(data)), equal("acl", mine, acl), equal("aversion", 0, stat.Aversion)); err != nil {
			return err
		}
		changed, err := ann.SetACL(path, zk.WorldACL(zk.PermRead), 0)
		if err := first(err, equal("aversion", 1, changed.Aversion)); err != nil {
			return err
		}
		_, _, err = bob.Get(path)
		_, set := bob.Set(path, nil, -1)
		_, invalid := bob.Create(folder+"/b", nil, 0, []zk.ACL{{Perms: zk.PermAll, Scheme: "nobody", ID: "x"}})
		return first(err, equal("set", zk.ErrNoAuth, set), equal("an unknown scheme", zk.ErrInvalidACL, invalid))
	})
}

func syncPath() error {
	return with(1, func(folder string, clients []*client) error {
		path, err := clients[0].Sync(folder)
		return first(err, equal("path", folder, path))
	})
}

func largeValues() error {
	return with(1, func(folder string, clients []*client) error {
		c, large := clients[0], bytes.Repeat([]byte("x"), 1000000)
		if _, err := c.Create(folder+"/large", large, 0, zk.WorldACL(zk.PermAll)); err != nil {
			return err
		}
		data, _, err := c.Get(folder + "/large")
		if err := first(err, equal("the same bytes", true, bytes.Equal(large, data))); err != nil {
			return err
		}
		if _, err := c.Create(folder+"/larger", make([]byte, 1100000), 0, zk.WorldACL(zk.PermAll)); err == nil {
			return fmt.Errorf("1.1 MB were taken")
		}
		return eventually("the client's return", func() bool {
			exists, _, err := c.Exists(folder + "/larger")
			return err == nil && !exists
		})
	})
}

func lock() error {
	const contenders, rounds = 10, 5
	return with(contenders, func(folder string, clients []*client) error {
		var holders, turns int32
		var wait sync.WaitGroup
		errs := make(chan error, contenders)
		for _, c := range clients {
			wait.Add(1)
			go func(c *client) {
				defer wait.Done()
				for i := 0; i < rounds; i++ {
					lock := zk.NewLock(c.Conn, folder+"/lock", zk.WorldACL(zk.PermAll))
					if err := lock.Lock(); err != nil {
						errs <- err
						return
					}
					if atomic.AddInt32(&holders, 1) != 1 {
						errs <- fmt.Errorf("two holders")
					}
					atomic.AddInt32(&turns, 1)
					atomic.AddInt32(&holders, -1)
					if err := lock.Unlock(); err != nil {
						errs <- err
						return
					}
				}
			}(c)
		}
		wait.Wait()
		close(errs)
		return first(<-errs, equal("turns", contenders*rounds, turns))
	})
}

func cut() error {
	c, err := connect(proxy, 6*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	id := c.SessionID()
	if err := first(control("refuse"), c.until(zk.StateDisconnected), control("accept"), c.until(zk.StateHasSession)); err != nil {
		return err
	}
	return equal("session id", id, c.SessionID())
}

func expired() error {
	return with(1, func(folder string, clients []*client) error {
		c, err := connect(proxy, time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		id := c.SessionID()
		path, err := c.make(folder+"/e", "", zk.FlagEphemeral)
		if err != nil {
			return err
		}
		_, _, mine, err := c.GetW(folder)
		if err != nil {
			return err
		}
		_, _, events, err := clients[0].ExistsW(path)
		if err := first(err, control("refuse"), event(events, zk.EventNodeDeleted, path), control("accept"),
			c.until(zk.StateExpired), c.until(zk.StateHasSession)); err != nil {
			return err
		}
		lost := <-mine
		return first(equal("the watch's end", zk.ErrSessionExpired, lost.Err),
			equal("a new session", true, id != c.SessionID()))
	})
}

func watchesCatchUp() error {
	return with(1, func(folder string, clients []*client) error {
		other := clients[0]
		c, err := connect(proxy, 8*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		for _, name := range []string{"/changed", "/deleted", "/children", "/quiet"} {
			if _, err := other.make(folder+name, "", 0); err != nil {
				return err
			}
		}
		_, _, changed, e1 := c.GetW(folder + "/changed")
		_, _, deleted, e2 := c.GetW(folder + "/deleted")
		_, _, kids, e3 := c.ChildrenW(folder + "/children")
		_, _, created, e4 := c.ExistsW(folder + "/created")
		_, _, quiet, e5 := c.GetW(folder + "/quiet")
		if err := first(e1, e2, e3, e4, e5, control("refuse"), c.until(zk.StateDisconnected)); err != nil {
			return err
		}
		_, e1 = other.Set(folder+"/changed", nil, -1)
		_, e2 = other.make(folder+"/children/c", "", 0)
		_, e3 = other.make(folder+"/created", "", 0)
		if err := first(e1, e2, e3, other.Delete(folder+"/deleted", -1), control("accept"), c.until(zk.StateHasSession),
			event(changed, zk.EventNodeDataChanged, folder+"/changed"),
			event(deleted, zk.EventNodeDeleted, folder+"/deleted"),
			event(kids, zk.EventNodeChildrenChanged, folder+"/children"),
			event(created, zk.EventNodeCreated, folder+"/created")); err != nil {
			return err
		}
		_, err = other.Set(folder+"/quiet", nil, -1)
		return first(err, event(quiet, zk.EventNodeDataChanged, folder+"/quiet"))
	})
}

func sigkill() error {
	c, err := connect(server, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	folder, err := c.folder()
	if err != nil {
		return err
	}
	id := c.SessionID()
	_, err = c.make(folder+"/e", "", zk.FlagEphemeral)
	for i := 0; i < 100 && err == nil; i++ {
		_, err = c.make(fmt.Sprintf("%s/n%d", folder, i), fmt.Sprint(i), 0)
	}
	if err := first(err, control("restart"), c.until(zk.StateDisconnected), c.until(zk.StateHasSession),
		equal("session id", id, c.SessionID())); err != nil {
		return err
	}
	for i := 0; i < 100; i++ {
		data, _, err := c.Get(fmt.Sprintf("%s/n%d", folder, i))
		if err := first(err, equal("data", i, string(data))); err != nil {
			return err
		}
	}
	_, stat, err := c.Exists(folder + "/e")
	return first(err, equal("owner", id, stat.EphemeralOwner))
}

func authSurvives() error {
	c, err := connect(proxy, 6*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	folder, err := c.folder()
	if err := first(err, c.AddAuth("digest", []byte("ann:secret"))); err != nil {
		return err
	}
	_, err = c.Create(folder+"/a", []byte("x"), 0, zk.DigestACL(zk.PermAll, "ann", "secret"))
	if err := first(err, control("cut"), c.until(zk.StateDisconnected), c.until(zk.StateHasSession)); err != nil {
		return err
	}
	data, _, err := c.Get(folder + "/a")
	return first(err, equal("data", "x", string(data)))
}

func pipelined() error {
	return with(1, func(folder string, clients []*client) error {
		c := clients[0]
		var wait sync.WaitGroup
		errs := make(chan error, 1000)
		for i := 0; i < 1000; i++ {
			wait.Add(1)
			go func(i int) {
				defer wait.Done()
				path := fmt.Sprintf("%s/n%d", folder, i)
				_, made := c.make(path, path, 0)
				data, _, err := c.Get(path)
				errs <- first(made, err, equal("data", path, string(data)))
			}(i)
		}
		wait.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				return err
			}
		}
		names, _, err := c.Children(folder)
		return first(err, equal("children", 1000, len(names)))
	})
}

func ruok() error {
	return equal("ruok", []bool{true}, zk.FLWRuok([]string{server}, patience))
}

func cons() error {
	return with(1, func(folder string, clients []*client) error {
		// The line of the asking connection has no session, which the library calls an error; on stock as well.
		servers, _ := zk.FLWCons([]string{server}, patience)
		if err := equal("servers", 1, len(servers)); err != nil {
			return err
		}
		for _, one := range servers[0].Clients {
			if one.SessionID == clients[0].SessionID() {
				return equal("time-out", 6000, one.Timeout)
			}
		}
		return fmt.Errorf("our session is not among %d", len(servers[0].Clients))
	})
}

// The library's pattern for srvr knows only build dates of before ZooKeeper 3.7. Nothing else may be in its way: with an
// old date in place of the new one, the rest of the reply must parse, which is looked at through a server of our own.
func srvr() error {
	reply, err := word("srvr")
	if err != nil {
		return err
	}
	version, rest, found := strings.Cut(reply, "\n")
	comma := strings.Index(version, ", built on ")
	if !found || comma < 0 {
		return fmt.Errorf("odd first line: %q", version)
	}
	address, stop, err := serveOnce(version[:comma] + ", built on 05/04/2020 15:53 GMT\n" + rest)
	if err != nil {
		return err
	}
	defer stop()
	stats, ok := zk.FLWSrvr([]string{address}, patience)
	if !ok {
		return fmt.Errorf("%v in %q", stats[0].Error, reply)
	}
	return first(equal("mode", zk.ModeStandalone, stats[0].Mode), equal("nodes", true, stats[0].NodeCount > 3))
}
