// Command sdkclient is a program as its users write it: it calls a provider
// with the provider's own SDK, which finds base URL, proxy and roots in the
// environment. It writes the bytes that the SDK received to standard output.
//
//	sdkclient anthropic|chat|responses|gemini stream|json MODEL RECORDING
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"google.golang.org/genai"

	"github.com/haltonlabs/halton-meter/internal/replay"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sdkclient:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return errors.New("usage: sdkclient anthropic|chat|responses|gemini stream|json MODEL RECORDING")
	}
	api, stream, model, recording := args[0], args[1] == "stream", args[2], args[3]
	switch api {
	case "anthropic":
		return messages(ctx, stream, model, recording)
	case "chat":
		return chat(ctx, stream, model, recording)
	case "responses":
		return respond(ctx, stream, model, recording)
	case "gemini":
		return generate(ctx, stream, model, recording)
	}
	return fmt.Errorf("unknown API %q", api)
}

// copied lets the SDK read a response, and copies its bytes out.
func copied(req *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	resp, err := next(req)
	if err == nil {
		resp.Body = &copying{Reader: io.TeeReader(resp.Body, os.Stdout), body: resp.Body}
	}
	return resp, err
}

type copying struct {
	io.Reader
	body io.ReadCloser
}

// Close reads on to the end: an SDK stops at the last event that it needs.
func (c *copying) Close() error {
	_, err := io.Copy(io.Discard, c.Reader)
	return errors.Join(err, c.body.Close())
}

func messages(ctx context.Context, stream bool, model, recording string) error {
	client := anthropic.NewClient(
		anthropicoption.WithAPIKey("sk-ant-planted-key"),
		anthropicoption.WithMaxRetries(0),
		anthropicoption.WithHeader(replay.Header, recording),
		anthropicoption.WithMiddleware(func(r *http.Request, next anthropicoption.MiddlewareNext) (*http.Response, error) {
			return copied(r, next)
		}),
	)
	params := anthropic.MessageNewParams{
		Model: anthropic.Model(model), MaxTokens: 64,
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("planted prompt"))},
	}
	if !stream {
		_, err := client.Messages.New(ctx, params)
		return err
	}
	s := client.Messages.NewStreaming(ctx, params)
	for s.Next() {
	}
	return s.Err()
}

func chat(ctx context.Context, stream bool, model, recording string) error {
	client := openaiClient(recording)
	params := openai.ChatCompletionNewParams{
		Model:    model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("planted prompt")},
	}
	if !stream {
		_, err := client.Chat.Completions.New(ctx, params)
		return err
	}
	s := client.Chat.Completions.NewStreaming(ctx, params)
	for s.Next() {
	}
	return s.Err()
}

func respond(ctx context.Context, stream bool, model, recording string) error {
	client := openaiClient(recording)
	params := responses.ResponseNewParams{
		Model: model,
		Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("planted prompt")},
	}
	if !stream {
		_, err := client.Responses.New(ctx, params)
		return err
	}
	s := client.Responses.NewStreaming(ctx, params)
	for s.Next() {
	}
	return s.Err()
}

func openaiClient(recording string) openai.Client {
	return openai.NewClient(
		openaioption.WithAPIKey("sk-planted-key"),
		openaioption.WithMaxRetries(0),
		openaioption.WithHeader(replay.Header, recording),
		openaioption.WithMiddleware(func(r *http.Request, next openaioption.MiddlewareNext) (*http.Response, error) {
			return copied(r, next)
		}),
	)
}

func generate(ctx context.Context, stream bool, model, recording string) error {
	client, err := genai.NewClient(ctx, &genai.ClientConfig{
		APIKey: "planted-key", Backend: genai.BackendGeminiAPI,
		HTTPClient:  &http.Client{Transport: copyingTransport{}},
		HTTPOptions: genai.HTTPOptions{Headers: http.Header{replay.Header: {recording}}},
	})
	if err != nil {
		return err
	}
	prompt := genai.Text("planted prompt")
	if !stream {
		_, err := client.Models.GenerateContent(ctx, model, prompt, nil)
		return err
	}
	for _, err := range client.Models.GenerateContentStream(ctx, model, prompt, nil) {
		if err != nil {
			return err
		}
	}
	return nil
}

// copyingTransport is the middleware of an SDK that has none.
type copyingTransport struct{}

func (copyingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	return copied(req, http.DefaultTransport.RoundTrip)
}
