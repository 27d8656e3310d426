// Command wsclient holds a conversation over a WebSocket: two responses, pings
// from both sides, a large binary message in fragments, and a close. It finds
// proxy and roots in the environment, and writes what it read to standard
// output.
//
//	wsclient URL client|server CODE REASON
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "wsclient:", err)
		os.Exit(1)
	}
}

const request = `{"type":"response.create","model":"gpt-5","input":"planted prompt"}`

func run(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return errors.New("usage: wsclient URL client|server CODE REASON")
	}
	code, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	conn, resp, err := websocket.Dial(ctx, args[0], &websocket.DialOptions{
		HTTPHeader: http.Header{
			"Authorization": {"Bearer sk-planted-key"},
			"OpenAI-Beta":   {"responses_websockets=2026-02-06"},
		},
		CompressionMode: websocket.CompressionContextTakeover, CompressionThreshold: 1,
	})
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(16 << 20)
	fmt.Println(resp.Header.Get("Sec-Websocket-Extensions"))

	for range 2 {
		if err := conn.Write(ctx, websocket.MessageText, []byte(request)); err != nil {
			return err
		}
		for last := false; !last; {
			_, event, err := conn.Read(ctx)
			if err != nil {
				return err
			}
			fmt.Println(string(event))
			last = strings.Contains(string(event), `"type":"response.completed"`)
		}
	}

	// A ping is answered while somebody reads.
	pinged := make(chan error, 1)
	go func() { pinged <- conn.Ping(ctx) }()
	if err := ask(ctx, conn, websocket.MessageText, []byte("ping")); err != nil {
		return err
	}
	if err := ask(ctx, conn, websocket.MessageBinary, blob()); err != nil {
		return err
	}
	read := make(chan error, 1)
	go func() {
		_, _, err := conn.Read(ctx)
		read <- err
	}()
	if err := <-pinged; err != nil {
		return err
	}
	fmt.Println("pong")

	if args[1] == "client" {
		if err := conn.Close(websocket.StatusCode(code), args[3]); err != nil {
			return err
		}
		fmt.Println("closed", code, args[3])
		return nil
	}
	if err := conn.Write(ctx, websocket.MessageText, []byte("close "+args[2]+" "+args[3])); err != nil {
		return err
	}
	var closed websocket.CloseError
	if err := <-read; !errors.As(err, &closed) {
		return fmt.Errorf("not closed: %w", err)
	}
	fmt.Println("closed", int(closed.Code), closed.Reason)
	return nil
}

// ask sends a message and prints the answer to it.
func ask(ctx context.Context, conn *websocket.Conn, kind websocket.MessageType, message []byte) error {
	w, err := conn.Writer(ctx, kind)
	if err != nil {
		return err
	}
	for len(message) > 0 {
		n := min(len(message), 70_000)
		if _, err := w.Write(message[:n]); err != nil {
			return err
		}
		message = message[n:]
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, answer, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%d %x\n", len(answer), sha256.Sum256(answer))
	return nil
}

// blob cannot be compressed, and is the same in each of the three clients.
func blob() []byte {
	var b []byte
	for i := range 6400 {
		sum := sha256.Sum256([]byte(strconv.Itoa(i)))
		b = append(b, sum[:]...)
	}
	return b
}
