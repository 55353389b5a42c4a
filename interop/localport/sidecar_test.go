package localport

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Every field is one that Kubernetes knows; cmd/cloudsqlconn tests what the sidecar
// does.
func TestTheSidecarIsAPod(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../cmd/cloudsqlconn/deploy/sidecar.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(text, &pod); err != nil {
		t.Fatal(err)
	}
	c := pod.Spec.InitContainers[0]
	if pod.Kind != "Pod" || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways || c.StartupProbe.HTTPGet.Port.StrVal != c.Ports[0].Name {
		t.Errorf("got %+v", c)
	}
	for name, quantity := range c.Resources.Requests {
		if quantity.IsZero() {
			t.Errorf("%s: %v", name, quantity)
		}
	}
}
