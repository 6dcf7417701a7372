# Everything works on a bare machine with Go and make. What is optional says what it lacks.
GO ?= go
export CGO_ENABLED ?= 0

.PHONY: viewer all build demo test bench bench-peers vet cross clean fuzz lint FORCE

all: build

# The commit for --version and manifests, where Go finds none itself: it stamps no build of a git worktree.
COMMIT = $(shell git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null)
BUILD = $(GO) build -trimpath -ldflags "-X main.commit=$(COMMIT)"

build: bin/cmi-native

bin/cmi-native: FORCE
	$(BUILD) -o $@ ./cmd/native

# The same binary with the WebGPU device: needs a C compiler (linux/amd64, windows/amd64, macOS).
.PHONY: build-webgpu
build-webgpu:
	CGO_ENABLED=1 $(BUILD) -o bin/cmi-native ./cmd/native

# The same binary for any Linux, Alpine and empty containers too: fully static, without the CUDA device.
.PHONY: build-static
build-static:
	CGO_ENABLED=0 $(BUILD) -tags nocuda -o bin/cmi-native ./cmd/native

FORCE:

# The picture of the README: restorations, other answers and where they differ, into out/.
demo: build
	./bin/cmi-native demo --out out

# What was skipped according to go test -v, by reason. Fails if anything was.
SKIPPED = awk '/^=== (RUN|NAME|CONT)/ { test = $$3 } \
	/^ *[a-z_0-9]+\.go:[0-9]+: / { why[test] = substr($$0, index($$0, ": ") + 2) } \
	/^ *--- SKIP/ { tests[why[$$3]] = tests[why[$$3]] " " $$3; some = 1 } \
	END { for (reason in tests) print "skipped: " reason "\n   " tests[reason]; exit some }'

# All tests, then the conformance suite with the golden vectors. What is skipped is
# named with its reason; with CMI_NO_SKIP=1 it is a failure. No result is taken from Go's cache, which does not see that
# a compiler, a browser or a driver has been installed since.
# Devices hand out memory full of NaN, so that a kernel that reads what nobody wrote is found.
test: export CMI_POISON = on
test: vet
	@$(GO) test -count=1 -timeout 20m -v ./... > test.log 2>&1 || { grep -vE '^ *(=== |--- PASS|PASS)' test.log; exit 1; }
	@grep '^ok' test.log
	@$(SKIPPED) test.log || test -z "$$CMI_NO_SKIP"
	$(GO) run ./cmd/native verify --golden testdata/golden > verify.log || { grep -v '^pass' verify.log; exit 1; }
	@tail -1 verify.log
	@$(MAKE) --no-print-directory test-webgpu

# The job scripts on a real Slurm, which the test starts on this machine; part of make test.
.PHONY: test-slurm
test-slurm:
	$(GO) test -count=1 -v ./deploy/slurm

# Shards in object storage: docs/cluster.md. Its tests without the clients of S3 and GCS, which take minutes to compile.
.PHONY: objects test-objects
objects:
	cd deploy/objects && $(GO) build -trimpath -o ../../bin/cmi-objects .

test-objects:
	cd deploy/objects && $(GO) vet -tags nocloud . && $(GO) test -tags nocloud -count=1 .

# The same on servers of S3's and Google Cloud Storage's protocols, which are built into .tools: minutes the first time.
.PHONY: test-cloud
test-cloud:
	test -x .tools/cloud/versitygw || GOBIN=$$PWD/.tools/cloud $(GO) install github.com/versity/versitygw/cmd/versitygw@v1.8.0
	test -x .tools/cloud/fake-gcs-server || GOBIN=$$PWD/.tools/cloud $(GO) install github.com/fsouza/fake-gcs-server@v1.56.1
	cd deploy/objects && $(GO) vet . && PATH=$$PWD/../../.tools/cloud:$$PATH $(GO) test -count=1 -v .

vet:
	@test -z "$$(gofmt -l cmd deploy examples gpu internal sdk tools wasm)" || { echo "not formatted:"; gofmt -l cmd deploy examples gpu internal sdk tools wasm; exit 1; }
	$(GO) vet ./...

# Static checks and known vulnerabilities, by tools of pinned versions that are fetched into .tools. What can't be fetched
# is skipped by name, and fails with CMI_NO_SKIP=1. Without a C compiler what WebGPU uses seems unused, and is not reported.
# VULNDB=file:///FOLDER is a copy of the database for machines that can't reach it.
LINTERS = honnef.co/go/tools/cmd/staticcheck@v0.8.2 golang.org/x/vuln/cmd/govulncheck@v1.9.0
VULNDB ?= https://vuln.go.dev
lint:
	@mkdir -p out; for tool in $(LINTERS); do GOBIN=$(CURDIR)/.tools/bin $(GO) install $$tool || { echo "lint skipped: $$tool can't be fetched"; test -z "$$CMI_NO_SKIP"; exit; }; done; \
	if command -v $(CC) > /dev/null; then CGO_ENABLED=1 .tools/bin/staticcheck ./...; else .tools/bin/staticcheck -checks inherit,-U1000 ./...; fi \
	&& GOOS=js GOARCH=wasm .tools/bin/staticcheck ./wasm/... ./gpu/wgsl/webgpu/browser && GOARCH=arm64 .tools/bin/staticcheck ./sdk/compute/cpu || exit; \
	for target in $$($(GO) env GOOS)/$$($(GO) env GOARCH) js/wasm; do \
		GOOS=$${target%/*} GOARCH=$${target#*/} .tools/bin/govulncheck -db $(VULNDB) ./cmd/... ./sdk/... ./wasm/... > out/govulncheck.log 2>&1 && echo "$$target: $$(grep '^No vulnerabilities' out/govulncheck.log)" && continue; \
		if grep -q 'fetching vulnerabilities' out/govulncheck.log; then echo "govulncheck skipped: $(VULNDB) can't be reached"; test -z "$$CMI_NO_SKIP"; exit; fi; \
		cat out/govulncheck.log; exit 1; \
	done

# Every fuzz target in turn, FUZZTIME each, on one processor: what each ran goes to out/fuzz.md as rows of the table of
# docs/testing.md. What fails is left in the package's testdata/fuzz, and fails go test from then on. FUZZ chooses targets.
FUZZTIME ?= 1m
FUZZ ?= .
fuzz:
	@mkdir -p out; : > out/fuzz.md; failed=0; \
	for target in $$(grep -rE '^func Fuzz' --include='*_test.go' cmd gpu sdk tools wasm | sed -E 's/(.*)\/[^/]*:func (Fuzz[A-Za-z]*).*/\1:\2/' | grep -E '$(FUZZ)' | sort); do \
		$(GO) test -run '^$$' -fuzz "^$${target#*:}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x -parallel 1 ./$${target%:*} > out/fuzz.log 2>&1; \
		code=$$?; if [ $$code != 0 ]; then cat out/fuzz.log; failed=1; fi; \
		awk -v target="$$target" -v code=$$code '/elapsed:.*execs:/ { split($$0, w, /[ ,]+/); seconds = w[3]; execs = w[5] } \
			END { split(target, t, ":"); print "| `" t[1] "` | `" t[2] "` | " execs " | " seconds " | " (code ? "**fails**" : "") " |" }' out/fuzz.log | tee -a out/fuzz.md; \
	done; exit $$failed

# The core for the other targets: it must compile there.
cross:
	GOOS=js GOARCH=wasm $(GO) build ./sdk/...
	GOARCH=arm64 $(GO) build ./...
	CGO_ENABLED=0 $(GO) build ./...

# Network passes and sampler steps as multiples of a forward; beside PyTorch where python3 has it.
PYTHON ?= python3
bench: build
	./bin/cmi-native bench
	@if $(PYTHON) -c 'import torch, safetensors' 2>/dev/null; then $(PYTHON) tools/peers/forward.py --binary bin/cmi-native; \
	else echo "comparison with PyTorch skipped: $(PYTHON) has no torch and safetensors (pip install torch numpy safetensors)"; fi

# Forward and derivatives beside PyTorch and ONNX Runtime, in turn, into docs/performance-cpu.md: an hour on an idle
# machine. CELLS='faces64/2/.*' measures a part; what out/peers holds is not measured again.
CELLS ?= .*
bench-peers: build
	$(PYTHON) tools/peers/compare.py --binary bin/cmi-native --cells '$(CELLS)'
	$(PYTHON) tools/peers/report.py

# The licences of what the programs contain.
.PHONY: notices
notices:
	$(GO) run ./tools/notices > NOTICE
	$(GO) run ./tools/notices ./deploy/objects > deploy/objects/NOTICE

clean:
	rm -rf bin out test.log verify.log webgpu.log verify-webgpu.log

# A window that shows a restoration while it runs: OpenGL. Needs a C compiler and, on Debian, libgl1-mesa-dev xorg-dev.
viewer:
	CGO_ENABLED=1 $(GO) build -tags gl -trimpath -o bin/viewer ./examples/viewer

# CUDA: the kernels' PTX is in the repository, so nothing here is needed to build or to run. `make ptx` compiles it
# anew with the NVRTC of pinned wheels (Linux on x86-64), `make ptx-check` compares every byte and assembles it.
.PHONY: ptx ptx-check cuda-toolkit
CUDA_TOOLKIT ?= out/cuda-11.8
PTX = $(GO) run ./tools/ptx -toolkit $(CUDA_TOOLKIT)

ptx: cuda-toolkit
	$(PTX) build
	$(PTX) report

ptx-check: cuda-toolkit
	$(PTX) check
	$(PTX) -doc - report

cuda-toolkit: $(CUDA_TOOLKIT)/nvidia/cuda_nvcc/bin/ptxas

$(CUDA_TOOLKIT)/nvidia/cuda_nvcc/bin/ptxas:
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --target $(CUDA_TOOLKIT) \
		nvidia-cuda-nvrtc-cu11==11.8.89 nvidia-cuda-runtime-cu11==11.8.89 nvidia-cuda-nvcc-cu11==11.8.89

# The browser build: wasm/npm is ready for npm pack afterwards. Needs node.
# Without inlining the program is a tenth smaller when compressed; what takes time is in the kernels.
GOWASM = GOOS=js GOARCH=wasm CGO_ENABLED=0 $(GO) build -trimpath -gcflags=all=-l -ldflags="-s -w"
.PHONY: wasm simd
wasm:
	mkdir -p wasm/npm/dist
	$(GOWASM) -tags page -o wasm/npm/dist/cmi.wasm ./wasm/engine
	$(GOWASM) -tags verify -o wasm/npm/dist/cmi-verify.wasm ./wasm/engine
	node wasm/engine/segments.mjs wasm/npm/dist/cmi.wasm wasm/npm/dist/cmi-verify.wasm
	cp wasm/simd/simd.wasm wasm/simd/simd-threads.wasm wasm/npm/dist/
	for prior in faces64 photos64; do $(GO) run ./tools/quantize -in sdk/checkpoint/$$prior/$$prior.safetensors -out wasm/npm/dist/$$prior.safetensors || exit 1; done
	cd wasm/npm && { test node_modules/.package-lock.json -nt package-lock.json || npm ci --no-audit --no-fund; } && node build.mjs
	node wasm/engine/size.mjs 1300000 wasm/npm/dist/cmi.wasm wasm/npm/dist/simd.wasm wasm/npm/dist/simd-threads.wasm

# The processor's kernels in the browser, from their C: byte for byte what is
# checked in. Needs clang-14 and lld-14. UPDATE=1 checks in what comes out.
simd:
	@command -v clang-14 >/dev/null && command -v wasm-ld-14 >/dev/null || { echo "make simd needs clang-14 and lld-14 (apt-get install clang-14 lld-14)"; exit 1; }
	@mkdir -p out/simd && wasm/simd/kernels/build.sh "$$PWD/out/simd"
	@if [ -n "$$UPDATE" ]; then cp out/simd/*.wasm wasm/simd/; fi
	@for f in simd simd-threads; do cmp out/simd/$$f.wasm wasm/simd/$$f.wasm || { echo "wasm/simd/$$f.wasm is not what its source gives: make simd UPDATE=1"; exit 1; }; done; echo "the kernels are what their source gives"

# arm64's kernels: on an arm64 machine as they are, elsewhere under emulation. Left out are slow tests that add nothing
# there: sums in strips, and tiles of the Go kernels.
.PHONY: test-arm64
EMULATOR = $(if $(filter arm64,$(shell $(GO) env GOHOSTARCH)),,qemu-aarch64)
test-arm64:
	GOARCH=arm64 $(GO) vet ./sdk/compute/cpu
	@if test -n "$(EMULATOR)" && ! command -v $(EMULATOR) >/dev/null; then \
	echo "arm64's kernels skipped: no $(EMULATOR) (apt-get install qemu-user)"; test -z "$$CMI_NO_SKIP"; else \
	GOARCH=arm64 $(GO) test -exec "$(EMULATOR)" -skip 'InStrips|TilesAreTheirDefinition/.*generic' ./sdk/compute/cpu && \
	GOARCH=arm64 $(GO) test -exec "$(EMULATOR)" -run GoldenVariants ./sdk/prior/unet; fi

# The demo page as static files in out/web, for any host; and the browser tests, which want Chromium too.
.PHONY: web demo-web web-test web-tools bench-web
web: wasm
	node wasm/demo/build.mjs out/web

# The same at http://localhost:8080, with the headers that threads want.
demo-web: web
	node wasm/demo/serve.mjs out/web

web-test: wasm web-tools
	$(GO) test -count=1 ./wasm/test

web-tools:
	cd wasm/test && { test node_modules/.package-lock.json -nt package-lock.json || npm ci --no-audit --no-fund; }

# Next and SvelteKit, which the recipes of docs/browser.md are built with: half a gigabyte.
.PHONY: web-frameworks
web-frameworks:
	cd wasm/test/frameworks && { test node_modules/.package-lock.json -nt package-lock.json || npm ci --no-audit --no-fund; }

# Ours beside onnxruntime-web in one browser, on an idle machine: minutes. Python with torch, onnx and onnxscript writes the peers' files.
bench-web: wasm web-tools
	$(PYTHON) tools/peers/export_onnx.py out/onnx
	cd wasm/test && node bench.mjs ../../out/onnx --demo --markdown ../../out/bench-web.md

# WebGPU: the driver needs a C compiler, so its tests are built apart; they run on any adapter, software ones too
# (mesa-vulkan-drivers, version 25 or newer is three times as fast as 22). `make shader-tools` fetches the compilers
# that the shaders are tried on, the newest that Debian 12 builds.
.PHONY: test-webgpu shader-tools
CC ?= cc
WEBGPU_TESTS = $(GO) test -count=1 -timeout 9m -v -run
test-webgpu:
	@if ! command -v $(CC) > /dev/null; then echo "WebGPU tests skipped: no C compiler ($(CC))"; test -z "$$CMI_NO_SKIP"; exit; fi; \
	export CGO_ENABLED=1; { $(WEBGPU_TESTS) . ./gpu/wgsl ./gpu/wgsl/webgpu/native ./gpu/wgsl/webgpu/child ./gpu/wgsl/webgpu/faulty && $(WEBGPU_TESTS) 'Driver|WebGPU|SamePicture' ./cmd/native; } > webgpu.log 2>&1 \
	|| { grep -vE '^ *(=== |--- PASS|PASS)' webgpu.log; exit 1; }; \
	grep '^ok' webgpu.log; $(SKIPPED) webgpu.log || { test -z "$$CMI_NO_SKIP"; exit; }; \
	$(GO) run ./cmd/native verify --device webgpu --golden testdata/golden --quick > verify-webgpu.log || { grep -v '^pass' verify-webgpu.log; exit 1; }; \
	head -1 verify-webgpu.log; tail -1 verify-webgpu.log

# Layers on the WebGPU adapter, beside its own matrix product.
.PHONY: bench-webgpu
bench-webgpu:
	CGO_ENABLED=1 $(GO) test ./gpu/wgsl -run - -bench Layers -benchtime 1x

shader-tools:
	test -x .tools/naga-0.13/bin/naga || cargo install --quiet --locked naga-cli --version 0.13.0 --root .tools/naga-0.13
	test -x .tools/naga-28/bin/naga || cargo install --quiet --locked naga-cli --version 28.0.0 --root .tools/naga-28
	test -d .tools/dawn/node_modules/webgpu || npm install --silent --prefix .tools/dawn webgpu@0.6.2
