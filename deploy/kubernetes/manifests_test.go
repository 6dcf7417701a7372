// Package kubernetes judges the manifests beside it by Kubernetes' own types. It is a module of its own, so that the
// programs do not depend on those.
package kubernetes

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// read decodes the documents of a file; a field that Kubernetes does not know, or that is named twice, fails.
func read(t *testing.T, name string) (claims []core.PersistentVolumeClaim, jobs []batch.Job) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var kind struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(name, err)
		}
		var job batch.Job
		var claim core.PersistentVolumeClaim
		switch kind.APIVersion + " " + kind.Kind {
		case "batch/v1 Job":
			err = yaml.UnmarshalStrict(document, &job, yaml.DisallowUnknownFields)
			jobs = append(jobs, job)
		case "v1 PersistentVolumeClaim":
			err = yaml.UnmarshalStrict(document, &claim, yaml.DisallowUnknownFields)
			claims = append(claims, claim)
		default:
			t.Fatalf("%s: an unknown kind, %v", name, kind)
		}
		if err != nil {
			t.Fatal(name, err)
		}
	}
	return claims, jobs
}

// Fields and values are Kubernetes' own, and what must agree does.
func TestManifests(t *testing.T) {
	claims, shards := read(t, "shards.yaml")
	_, merge := read(t, "merge.yaml")
	if len(claims) != 1 || len(shards) != 1 || len(merge) != 1 {
		t.Fatal("a claim, the shards and the merge are wanted")
	}
	if !slices.Contains(claims[0].Spec.AccessModes, core.ReadWriteMany) {
		t.Error("every pod writes to the volume")
	}
	job := shards[0].Spec
	if *job.CompletionMode != batch.IndexedCompletion || *job.Completions < 1 || *job.BackoffLimitPerIndex < 1 || *job.MaxFailedIndexes != 0 || job.BackoffLimit != nil {
		t.Errorf("an indexed job with a limit for each index is wanted: %+v", job)
	}
	args := job.Template.Spec.Containers[0].Args
	if want := "--shard=$(JOB_COMPLETION_INDEX)/8"; *job.Completions != 8 || !slices.Contains(args, want) {
		t.Errorf("%d completions and %v", *job.Completions, args)
	}
	for _, j := range []batch.Job{shards[0], merge[0]} {
		pod := j.Spec.Template.Spec
		if pod.RestartPolicy != core.RestartPolicyNever {
			t.Errorf("%s: a podFailurePolicy needs restartPolicy Never", j.Name)
		}
		if pod.Volumes[0].PersistentVolumeClaim.ClaimName != claims[0].Name || pod.Volumes[0].Name != pod.Containers[0].VolumeMounts[0].Name {
			t.Errorf("%s: another volume", j.Name)
		}
		disruption, wrong := false, false
		for i, rule := range j.Spec.PodFailurePolicy.Rules {
			for _, c := range rule.OnPodConditions {
				disruption = disruption || i == 0 && rule.Action == batch.PodFailurePolicyActionIgnore && c.Type == core.DisruptionTarget && c.Status == core.ConditionTrue
			}
			if on := rule.OnExitCodes; on != nil {
				if on.ContainerName == nil || *on.ContainerName != pod.Containers[0].Name || on.Operator != batch.PodFailurePolicyOnExitCodesOpIn || slices.Contains(on.Values, 0) || !slices.IsSorted(on.Values) {
					t.Errorf("%s: rule %d: %+v", j.Name, i, on)
				}
				wrong = wrong || rule.Action == batch.PodFailurePolicyActionFailJob && slices.Equal(on.Values, []int32{2})
			}
		}
		if !disruption || !wrong {
			t.Errorf("%s: preemption is to be ignored, exit code 2 to fail the job", j.Name)
		}
		for _, arg := range pod.Containers[0].Args {
			if path, ok := strings.CutPrefix(arg, "--out="); ok && !strings.HasPrefix(path, pod.Containers[0].VolumeMounts[0].MountPath+"/") {
				t.Errorf("%s writes to %s, which is not on the volume", j.Name, path)
			}
		}
	}
	if !slices.Contains(args, "--out="+merge[0].Spec.Template.Spec.Containers[0].Args[1]) {
		t.Error("merge reads another folder than shards write")
	}
}

// Decoding finds what is misspelt, so that the test above can fail.
func TestStrict(t *testing.T) {
	text, err := os.ReadFile("merge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{"backoffLimit:", "backoffLimits:"}, {"backoffLimit: 3", "backoffLimit: three"}, {"restartPolicy: Never", "restartPolicy: Never\n      restartPolicy: Never"}} {
		var job batch.Job
		if yaml.UnmarshalStrict([]byte(strings.Replace(string(text), change[0], change[1], 1)), &job, yaml.DisallowUnknownFields) == nil {
			t.Errorf("%s is taken", change[1])
		}
	}
}
