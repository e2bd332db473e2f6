package main

import (
	"io"
	"net"
)

// word asks the server a four-letter word over a plain connection.
func word(name string) (string, error) {
	conn, err := net.DialTimeout("tcp", server, patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(name)); err != nil {
		return "", err
	}
	reply, err := io.ReadAll(conn)
	return string(reply), err
}

// serveOnce answers one connection with a fixed reply.
func serveOnce(reply string) (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.ReadFull(conn, make([]byte, 4))
		_, _ = io.WriteString(conn, reply)
	}()
	return listener.Addr().String(), func() { listener.Close() }, nil
}
