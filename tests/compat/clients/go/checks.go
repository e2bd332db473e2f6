package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

// patience bounds every wait for something that must come.
const patience = 30 * time.Second

var (
	server = os.Getenv("ZK_SERVER")
	proxy  = os.Getenv("ZK_PROXY")

	folders int32
)

// A check returns what went wrong, or nil.
type check struct {
	name string
	body func() error
}

// timed are the checks in which the client keeps its own time: its sessions last a second or a few, and a busy machine may
// keep it from pinging. One of these that fails gets one more try and is counted apart.
var timed = map[string]bool{
	"containers_and_ttl_nodes_go":            true,
	"m18_states_through_a_cut":               true,
	"m24_expired_session_leaves_nothing":     true,
	"m29_watches_are_set_again_and_catch_up": true,
	"m38_session_and_data_survive_sigkill":   true,
	"auth_survives_reconnect":                true,
}

// run runs the checks whose name holds one of the patterns, or all of them, and prints a line for each.
func run(checks []check, patterns []string) (passed, failed int) {
	var again []string
	for _, one := range checks {
		if !wanted(one.name, patterns) {
			continue
		}
		begun := time.Now()
		err := try(one)
		if err != nil && timed[one.name] {
			fmt.Printf("one more try: %s %s\n", one.name, strings.ReplaceAll(err.Error(), "\n", " "))
			again = append(again, one.name)
			err = try(one)
		}
		if err == nil {
			passed++
			fmt.Printf("ok %s (%d ms)\n", one.name, time.Since(begun).Milliseconds())
		} else {
			failed++
			fmt.Printf("FAIL %s %s\n", one.name, strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
	if len(again) > 0 {
		fmt.Printf("%d at the second try: %s\n", len(again), strings.Join(again, " "))
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	return passed, failed
}

func try(one check) error {
	done := make(chan error, 1)
	go func() { done <- one.body() }()
	var err error
	select {
	case err = <-done:
	case <-time.After(90 * time.Second):
		err = errors.New("not done after 90 s")
	}
	// A check that failed half-way must not leave the relay cut for the next one.
	for _, verb := range []string{"thaw", "accept"} {
		if failure := control(verb); failure != nil && err == nil {
			err = failure
		}
	}
	return err
}

func wanted(name string, patterns []string) bool {
	for _, pattern := range patterns {
		if strings.Contains(name, pattern) {
			return true
		}
	}
	return len(patterns) == 0
}

// control tells tests/support/with_server to cut, refuse, accept, kill, start or restart.
func control(verb string) error {
	conn, err := net.Dial("tcp", os.Getenv("ZK_CONTROL"))
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintln(conn, verb)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && strings.TrimSpace(answer) != "ok" {
		err = fmt.Errorf("%s: %s", verb, answer)
	}
	return err
}

// A client is a stock connection together with what its session was told.
type client struct {
	*zk.Conn
	events <-chan zk.Event
}

type silent struct{}

func (silent) Printf(string, ...interface{}) {}

func connect(address string, timeout time.Duration) (*client, error) {
	conn, events, err := zk.Connect([]string{address}, timeout, zk.WithLogger(silent{}))
	if err != nil {
		return nil, err
	}
	c := &client{conn, events}
	if err := c.until(zk.StateHasSession); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// until waits for a state of the session.
func (c *client) until(state zk.State) error {
	deadline := time.After(patience)
	for {
		select {
		case event := <-c.events:
			if event.State == state {
				return nil
			}
		case <-deadline:
			return fmt.Errorf("never came to state %v, is %v", state, c.State())
		}
	}
}

// folder makes a new folder, for one check only.
func (c *client) folder() (string, error) {
	path := fmt.Sprintf("/go%d-%d", atomic.AddInt32(&folders, 1), os.Getpid())
	return c.Create(path, nil, 0, zk.WorldACL(zk.PermAll))
}

func (c *client) make(path, data string, flags int32) (string, error) {
	return c.Create(path, []byte(data), flags, zk.WorldACL(zk.PermAll))
}

// with runs a body with so many clients and a folder.
func with(count int, body func(folder string, clients []*client) error) error {
	var clients []*client
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	for i := 0; i < count; i++ {
		c, err := connect(server, 6*time.Second)
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	folder, err := clients[0].folder()
	if err != nil {
		return err
	}
	return body(folder, clients)
}

// event waits for one watch event and looks at it.
func event(events <-chan zk.Event, kind zk.EventType, path string) error {
	select {
	case got := <-events:
		if got.Type != kind || got.Path != path {
			return fmt.Errorf("expected %v %s, got %v %s (%v)", kind, path, got.Type, got.Path, got.Err)
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("no %v came for %s", kind, path)
	}
}

// eventually waits until a condition holds; for state that no event announces.
func eventually(what string, condition func() bool) error {
	for begun := time.Now(); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > patience {
			return fmt.Errorf("never came: %s", what)
		}
	}
	return nil
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func equal(what string, expected, got interface{}) error {
	if fmt.Sprint(expected) != fmt.Sprint(got) {
		return fmt.Errorf("%s: expected %v, got %v", what, expected, got)
	}
	return nil
}
