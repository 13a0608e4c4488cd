package e2e

import (
	"fmt"
	"os"
	"strings"
)

// logged counts the lines in an agent's log that have the words.
func (c *cluster) logged(node, words string) int {
	c.t.Helper()
	data, err := os.ReadFile(c.agents[node].Log)
	c.must(err)
	return strings.Count(string(data), words)
}

// awaitLogged waits for that many lines in an agent's log that have the words.
func (c *cluster) awaitLogged(node, words string, lines int) {
	c.t.Helper()
	c.await(fmt.Sprintf("%s says %q", node, words), func() string {
		if n := c.logged(node, words); n < lines {
			return fmt.Sprintf("%d times, want %d", n, lines)
		}
		return ""
	})
}
