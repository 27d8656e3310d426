package provider

import (
	"net/http"
	"slices"
)

// The clouds serve models from hosts by region, which are listed one by one:
// what is below a cloud's whole domain is not ours to see.

// awsRegions are the regions of the bedrock-runtime endpoints, see
// https://docs.aws.amazon.com/bedrock/latest/userguide/endpoints-region-availability.html.
var awsRegions = []string{
	"us-east-1", "us-east-2", "us-west-1", "us-west-2", "us-gov-east-1", "us-gov-west-1",
	"ca-central-1", "ca-west-1", "mx-central-1", "sa-east-1",
	"eu-central-1", "eu-central-2", "eu-north-1", "eu-south-1", "eu-south-2",
	"eu-west-1", "eu-west-2", "eu-west-3",
	"ap-east-2", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2",
	"ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5",
	"ap-southeast-6", "ap-southeast-7",
	"il-central-1", "me-central-1", "me-south-1", "af-south-1",
}

// mantleRegions are the regions of the bedrock-mantle endpoints.
var mantleRegions = []string{
	"us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-north-1", "eu-south-1",
	"eu-west-1", "eu-west-2", "ap-northeast-1", "ap-south-1", "ap-southeast-2", "ap-southeast-3", "sa-east-1",
}

// vertexRegions are the prefixes of Vertex AI's hosts; the global one has
// none. See
// https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations.
var vertexRegions = []string{
	"",
	"us-central1-", "us-east1-", "us-east4-", "us-east5-", "us-south1-", "us-west1-", "us-west4-",
	"northamerica-northeast1-", "southamerica-east1-",
	"europe-central2-", "europe-north1-", "europe-southwest1-", "europe-west1-", "europe-west2-",
	"europe-west3-", "europe-west4-", "europe-west6-", "europe-west8-", "europe-west9-",
	"asia-east1-", "asia-east2-", "asia-northeast1-", "asia-northeast3-", "asia-south1-",
	"asia-southeast1-", "australia-southeast1-", "me-central1-", "me-central2-", "me-west1-",
}

var bedrockRoutes = []route{
	post("/model/{model}/converse", FormatBedrockConverse, KindChat),
	{method: http.MethodPost, path: "/model/{model}/converse-stream", format: FormatBedrockConverse, kind: KindChat, stream: true},
	post("/model/{model}/invoke", FormatBedrockInvoke, KindChat),
	{method: http.MethodPost, path: "/model/{model}/invoke-with-response-stream", format: FormatBedrockInvoke, kind: KindChat, stream: true},
}

const vertexLocation = "/projects/*/locations/*"

var vertexRoutes = slices.Concat(
	geminiMethods("/publishers/google/models"),
	geminiMethods(vertexLocation+"/publishers/google/models"),
	[]route{
		post(vertexLocation+"/publishers/google/models/{model}:predict", FormatGemini, KindEmbedding),
		// Counting tokens is free, and looks like a model.
		post(vertexLocation+"/publishers/anthropic/models/count-tokens:rawPredict", unmetered, KindOther),
		post(vertexLocation+"/publishers/anthropic/models/{model}:rawPredict", FormatAnthropicMessages, KindChat),
		{
			method: http.MethodPost, path: vertexLocation + "/publishers/anthropic/models/{model}:streamRawPredict",
			format: FormatAnthropicMessages, kind: KindChat, stream: true,
		},
		post(vertexLocation+"/endpoints/openapi/chat/completions", FormatGeminiChat, KindChat),
	},
)

// azureDomains are Azure's domains below which models are served and nothing
// else: all of their hosts are metered. cognitiveservices.azure.com is of speech
// and vision too; who reaches models there adds the host.
var azureDomains = []string{"openai.azure.com", "services.ai.azure.com"}

// azureServices have a host for each customer's resource. There the path
// names a deployment, whose model the response names.
var azureServices = []service{
	{"azure", "*.openai.azure.com", "/openai/deployments/{model}", azureRoutes},
	{"azure", "*.openai.azure.com", "/openai", responsesRoutes},
	{"azure", "*.openai.azure.com", "/openai/v1", openaiRoutes},
	{"azure", "*.cognitiveservices.azure.com", "/openai/deployments/{model}", azureRoutes},
	{"azure", "*.cognitiveservices.azure.com", "/openai/v1", openaiRoutes},
	{"azure", "*.services.ai.azure.com", "/openai/deployments/{model}", azureRoutes},
	{"azure", "*.services.ai.azure.com", "/openai", responsesRoutes},
	{"azure", "*.services.ai.azure.com", "/openai/v1", openaiRoutes},
	{"azure", "*.services.ai.azure.com", "/api/projects/*/openai", responsesRoutes},
	{"azure", "*.services.ai.azure.com", "/api/projects/*/openai/v1", openaiRoutes},
	{"azure", "*.services.ai.azure.com", "/models", chatRoutes},
	{"azure", "*.services.ai.azure.com", "/anthropic/v1", anthropicRoutes},
}

var azureRoutes = slices.Concat(chatRoutes, mediaRoutes)
