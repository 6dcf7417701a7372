package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// NOTICE names every module of this machine's program, in its version.
func TestNoticeIsCurrent(t *testing.T) {
	t.Chdir("../..")
	notice, err := os.ReadFile("NOTICE")
	require.NoError(t, err)
	found, err := modules([]build{{"", ".", "./cmd/native"}})
	require.NoError(t, err)
	require.Greater(t, len(found), 10)
	for _, m := range found {
		assert.Contains(t, string(notice), m[0]+" ("+m[1]+")", "make notices")
	}
	assert.Contains(t, string(notice), others)
}
