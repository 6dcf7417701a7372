//go:build !linux

package main

import "errors"

type nvrtc struct{}

func openNVRTC(string) (*nvrtc, error) { return nil, errors.New("the pinned NVRTC needs Linux") }

func (*nvrtc) compile(string, string) (string, error) { return "", errors.ErrUnsupported }
