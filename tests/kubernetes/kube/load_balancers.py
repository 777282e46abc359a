"""The cloud that gives Services of type LoadBalancer an address."""

import ipaddress
import threading

from kube.access import RequestFailed

AT_ONCE = 0
NEVER = None


class LoadBalancers:
    """`delay`: seconds until a Service gets its address, AT_ONCE or NEVER; set_delay() acts on
    those that wait as well. `addresses` by the uid of the Service."""

    def __init__(self, api, network, is_ours, delay=AT_ONCE):
        self.api = api
        self.free = ipaddress.ip_network(network).hosts()
        self.is_ours = is_ours  # of a namespace
        self.delay = delay
        self.waiting = {}  # by uid: Service, timer
        self.addresses = {}
        self.lock = threading.RLock()

    def tell(self, event, service):
        """What became of a Service."""
        meta, spec = service["metadata"], service["spec"]
        if not self.is_ours(meta["namespace"]) or "loadBalancerClass" in spec:
            return
        with self.lock:
            _, timer = self.waiting.pop(meta["uid"], (None, None))
            if timer:
                timer.cancel()
            if event == "DELETED":
                return
            given = service["status"].get("loadBalancer", {}).get("ingress")
            if spec["type"] == "LoadBalancer" and not given:
                self.wait(service)
            elif spec["type"] != "LoadBalancer" and given:
                self.write(service, None)

    def wait(self, service):
        timer = None
        if self.delay is not NEVER:
            timer = threading.Timer(self.delay, self.give, [service])
            timer.daemon = True
            timer.start()
        self.waiting[service["metadata"]["uid"]] = service, timer

    def give(self, service):
        with self.lock:
            uid = service["metadata"]["uid"]
            if uid in self.waiting:
                address = self.addresses.setdefault(uid, str(next(self.free)))
                self.write(service, [{"ip": address, "ipMode": "VIP"}])

    def write(self, service, ingress):
        meta = service["metadata"]
        try:
            self.api.patch(f"/api/v1/namespaces/{meta['namespace']}/services/{meta['name']}/status",
                           {"metadata": {"uid": meta["uid"]},
                            "status": {"loadBalancer": {"ingress": ingress}}})
        except (OSError, RequestFailed):
            pass  # it is gone; or the watch begins again, and tells of it again

    def set_delay(self, seconds):
        with self.lock:
            self.delay = seconds
            for service, timer in list(self.waiting.values()):
                if timer:
                    timer.cancel()
                self.wait(service)

    def close(self):
        self.set_delay(NEVER)
