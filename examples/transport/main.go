// Command transport asks OpenAI a question and says what the answer cost.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/haltonlabs/halton-meter/meter/transport"
)

func main() {
	if err := ask(context.Background(), nil, "Say hello."); err != nil {
		log.Fatal(err)
	}
}

// ask makes one call over the base transport, nil for the usual one.
func ask(ctx context.Context, base http.RoundTripper, question string) error {
	meter := &transport.Transport{Base: base, Sink: transport.SinkFunc(func(r transport.Record) {
		fmt.Printf("%s cost %d nano-USD: %s\n", r.Model, r.Cost.NanoUSD, cmp.Or(r.Cost.Reason, r.Status))
	})}
	defer meter.Close(ctx)
	client := openai.NewClient(option.WithHTTPClient(&http.Client{Transport: meter}))
	answer, err := client.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{
		Model:    openai.ChatModelGPT4o,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(question)},
	})
	if err != nil {
		return err
	}
	fmt.Println(answer.Choices[0].Message.Content)
	return nil
}
