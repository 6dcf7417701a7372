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
