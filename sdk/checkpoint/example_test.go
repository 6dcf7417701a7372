package checkpoint_test

import (
	"bytes"
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/checkpoint"
)

func ExampleOpen() {
	f, err := checkpoint.Open("testdata/legacy2.pt")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	info, _ := f.Info("transposed")
	values, err := f.Floats("transposed", 4, 3)
	fmt.Println(f.Format(), info.DType, values[:3], err)
	_, err = f.Floats("transposed", 3, 4)
	fmt.Println(err)
	// Output:
	// pytorch legacy F32 [0 1 2] <nil>
	// checkpoint testdata/legacy2.pt: tensor "transposed" has shape [4 3], wanted [3 4]
}

func ExampleWriteSafetensors() {
	var file bytes.Buffer
	err := checkpoint.WriteSafetensors(&file, []checkpoint.Content{{
		Tensor: checkpoint.Tensor{Name: "out.2.bias", DType: checkpoint.F16, Shape: []int{2}},
		Floats: []float32{0.5, 0.1},
	}}, map[string]string{"image_size": "64"})
	if err != nil {
		fmt.Println(err)
		return
	}
	f, err := checkpoint.Read(bytes.NewReader(file.Bytes()), int64(file.Len()), "memory")
	if err != nil {
		fmt.Println(err)
		return
	}
	values, err := f.Floats("out.2.bias", 2)
	fmt.Println(f.Metadata()["image_size"], values, err)
	// Output: 64 [0.5 0.099975586] <nil>
}

func ExampleFormula() {
	var weights checkpoint.Source = checkpoint.Formula{"out.2.bias": {3}}
	values, err := weights.Floats("out.2.bias", 3)
	fmt.Println(len(values), err)
	// Output: 3 <nil>
}
