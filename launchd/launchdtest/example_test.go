package launchdtest_test

import (
	"fmt"

	"github.com/haltonlabs/halton-meter/launchd/launchdtest"
)

func ExampleRows() {
	for _, row := range launchdtest.Rows() {
		if row.Name == "bootout of an unknown label" {
			fmt.Println(row.Steps[0].Args, "=", row.Steps[0].Codes, row.Steps[0].Stderr)
		}
	}
	// Output: bootout {target} = [3] Boot-out failed: 3: No such process
}
