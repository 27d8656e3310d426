// Package version holds the version of the product, in one place.
package version

// Version is the semantic version that /health, status and --version report.
const Version = "0.1.0"
