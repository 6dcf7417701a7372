package squeezenet_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
	"github.com/cmi-diffusion/cmi/sdk/metric/squeezenet"
)

// The file holds 25 convolutions, 722,496 values in all: SqueezeNet v1.1 without
// its classifier.
func TestContents(t *testing.T) {
	file, err := squeezenet.Open()
	require.NoError(t, err)
	require.Len(t, file.Names(), 50)
	total := 0
	for _, name := range file.Names() {
		info, _ := file.Info(name)
		require.Equal(t, checkpoint.F16, info.DType)
		require.True(t, strings.HasSuffix(name, ".weight") == (len(info.Shape) == 4), name)
		total += info.Len()
	}
	require.Equal(t, 722_496, total)
}

func ExampleOpen() {
	file, err := squeezenet.Open()
	if err != nil {
		fmt.Println(err)
		return
	}
	first, _ := file.Info("features.0.weight")
	fmt.Println(first.Shape, file.Metadata()["input"])
	// Output: [64 3 3 3] BGR, 0 to 255, minus 104.006, 116.669, 122.679
}
