// Package tap writes the Test Anything Protocol, version 13.
//
// The validation suite imports a package of this name that Debian does not carry. This one
// has the calls that the suite makes, so that the suite builds from Debian's packages alone.
package tap

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// T is one stream of test points on standard output.
type T struct {
	points *int
	todo   bool
}

// New starts a stream with no test points.
func New() *T {
	return &T{points: new(int)}
}

// Header writes the version line, and the plan when the number of points is known (above zero).
func (t *T) Header(points int) {
	fmt.Println("TAP version 13")
	if points > 0 {
		fmt.Printf("1..%d\n", points)
	}
}

// AutoPlan writes the plan after the fact, with as many points as were written.
func (t *T) AutoPlan() {
	fmt.Printf("1..%d\n", *t.points)
}

// Ok writes one test point.
func (t *T) Ok(passed bool, description string) {
	word, mark := "ok", "-"
	if !passed {
		word = "not ok"
	}
	if t.todo {
		mark = "# TODO"
	}
	*t.points++
	fmt.Printf("%s %d %s %s\n", word, *t.points, mark, description)
}

// Pass writes a test point that passed.
func (t *T) Pass(description string) { t.Ok(true, description) }

// Fail writes a test point that failed.
func (t *T) Fail(description string) { t.Ok(false, description) }

// Skip writes count test points that were not run, and why.
func (t *T) Skip(count int, reason string) {
	for ; count > 0; count-- {
		*t.points++
		fmt.Printf("ok %d # SKIP %s\n", *t.points, reason)
	}
}

// Todo returns the same stream; points written through it are not expected to pass.
func (t *T) Todo() *T {
	return &T{points: t.points, todo: true}
}

// Diagnostic writes a comment, one line for each line of the text.
func (t *T) Diagnostic(text string) {
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		fmt.Printf("# %s\n", line)
	}
}

// Diagnosticf is Diagnostic with a format.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}

// YAML writes a value as the structured diagnostic of the point before it. JSON is YAML.
func (t *T) YAML(value interface{}) error {
	text, err := json.MarshalIndent(value, "  ", "  ")
	if err != nil {
		fmt.Fprintf(os.Stderr, "tap: %v\n", err)
		return err
	}
	fmt.Printf("  ---\n  %s\n  ...\n", text)
	return nil
}
