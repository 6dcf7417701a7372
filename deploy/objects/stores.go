//go:build !nocloud

package main

// The clients of the stores are most of the program: tests that need none are built with the tag nocloud.
import (
	_ "gocloud.dev/blob/gcsblob"
	_ "gocloud.dev/blob/s3blob"
)
