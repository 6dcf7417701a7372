#!/bin/sh
# Builds the kernels into the folder given: simd.wasm, and simd-threads.wasm for
# shared memory. Needs clang and lld of version 14, whose output is checked in.
set -eu
cd "$(dirname "$0")"
out=$1
clang=${CLANG:-clang-14}
common="--target=wasm32 -std=c11 -O3 -msimd128 -mbulk-memory -ffreestanding -nostdlib -Wall -Wextra -Wno-unused-parameter -Werror \
  -Wl,--no-entry -Wl,--import-memory -Wl,--strip-all -Wl,-z,stack-size=65536 -Wl,--global-base=4096"
# shellcheck disable=SC2086 # words are arguments
$clang $common -o "$out/simd.wasm" ./*.c ./*.s
# shellcheck disable=SC2086
$clang $common -matomics -mmutable-globals -Wl,--shared-memory -Wl,--max-memory=4294967296 -o "$out/simd-threads.wasm" ./*.c ./*.s
