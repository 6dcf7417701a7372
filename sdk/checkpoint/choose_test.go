package checkpoint

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Averaged weights are taken wherever scripts keep them; a key takes the others.
func TestChooseWeights(t *testing.T) {
	tensor := func(n int64) string { return pTensor(pStorage("FloatStorage", "0", 4), 0, pInts(n), pInts(1)) }
	weights := func(prefix string, n int64) string {
		return pString(prefix+"a") + tensor(n) + pString(prefix+"b") + tensor(n)
	}
	in := func(key, items string) string { return pString(key) + pDict(items) }
	decay := pString("decay") + pInt(1)
	model := in("model", weights("", 1))
	for _, c := range []struct {
		state, key, taken string
		want              int // length of the tensors: 1 of the last step, 2 averaged
	}{
		{weights("", 1), "", "", 1},
		{model + in("ema_model", weights("", 2)), "", "ema_model", 2},
		{in("model_ema", weights("module.", 2)) + model, "", "model_ema.module", 2},
		{model + in("ema", decay+in("shadow", weights("", 2))), "", "ema.shadow", 2},
		{model + in("ema", decay+in("shadow", weights("", 2))), "model", "model", 1},
		{in("model", weights("", 1)+pString("n")+tensor(3)) + in("ema", weights("", 2)), "", "ema", 2},
		{in("state_dict", weights("model.diffusion_model.", 1)+weights("ema_model.", 2)), "", "state_dict.ema_model", 2},
		{in("state_dict", weights("model.diffusion_model.", 1)+weights("ema_model.", 2)), "state_dict.model", "state_dict.model.diffusion_model", 1},
		{weights("online_model.", 1) + weights("ema_model.", 2), "", "ema_model", 2},
		{weights("online_model.", 1) + weights("ema_model.", 2), "online_model", "online_model", 1},
		{model + in("mine", weights("", 2)), "mine", "mine", 2},
		{model + in("ema_0.9999", weights("", 2)), "", "ema_0.9999", 2},
	} {
		data := zip4(t, proto+pDict(c.state)+".")
		f, err := read(bytes.NewReader(data), int64(len(data)), "test", c.key)
		require.NoError(t, err, c.taken)
		require.Equal(t, c.taken, f.Key())
		require.Equal(t, []string{"a", "b"}, f.Names(), c.taken)
		_, err = f.Floats("a", c.want)
		require.NoError(t, err, c.taken)
	}
	data := zip4(t, proto+pDict(model)+".")
	_, err := read(bytes.NewReader(data), int64(len(data)), "test", "emma")
	require.ErrorContains(t, err, `no weights under the key "emma"; found ["model"]`)
}

// Averaged weights whose names lost their points have those of the raw weights, unless two fit.
func TestNamesWithoutPoints(t *testing.T) {
	open := func(key string, names ...string) *File {
		var tensors []Content
		for i, name := range names {
			tensors = append(tensors, Content{Tensor: Tensor{Name: name, DType: F32, Shape: []int{1}}, Floats: []float32{float32(i)}})
		}
		var data bytes.Buffer
		require.NoError(t, WriteSafetensors(&data, tensors, nil))
		f, err := read(bytes.NewReader(data.Bytes()), int64(data.Len()), "test", key)
		require.NoError(t, err)
		return f
	}
	names := []string{"model.diffusion_model.input_blocks.0.0.weight", "model.diffusion_model.out.2.weight",
		"model_ema.decay", "model_ema.diffusion_modelinput_blocks00weight", "model_ema.diffusion_modelout2weight"}
	for key, want := range map[string]float32{"": 4, "model": 1} {
		f := open(key, names...)
		require.Equal(t, []string{"model", "model_ema"}[int(want)/4]+".diffusion_model", f.Key())
		require.ElementsMatch(t, []string{"input_blocks.0.0.weight", "out.2.weight"}, f.Names())
		values, err := f.Floats("out.2.weight")
		require.NoError(t, err)
		require.Equal(t, []float32{want}, values)
	}
	f := open("model_ema", "model.n.a.bc", "model.n.ab.c", "model_ema.nabc")
	require.Equal(t, []string{"nabc"}, f.Names())
}

// One dict in many places costs no more than a look at each of a few.
func TestChooseIsBounded(t *testing.T) {
	state := proto + "}" + "q\x00" + "(" + pString("w") + pTensor(pStorage("FloatStorage", "0", 4), 0, pInts(4), pInts(1))
	for i := range 2000 {
		state += pString(fmt.Sprint("d", i)) + "h\x00"
	}
	f, err := open(zip4(t, state+"u."))
	require.NoError(t, err)
	require.Equal(t, []string{"w"}, f.Names())
}
