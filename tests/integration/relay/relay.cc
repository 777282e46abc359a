// tap-relay: joins two network namespaces by a long, thin or lossy wire.
//
//   tap-relay west=NAMESPACE/DEVICE east=NAMESPACE/DEVICE [delay_us=0] [loss_ppm=0]
//             [rate_mbit=0] [seed=1]
//
// Makes one TAP device in each namespace and carries frames between them. Each direction has the
// delay, loses frames at random (seeded, so the same frame numbers are lost again) and, with a
// rate, sends one frame after the other from a queue of one bandwidth-delay product whose tail is
// dropped. Says "up" when both devices are there. Ends on SIGTERM or SIGINT, or when a device goes
// away; the devices go with it. Its last lines are the counters of both directions.
//
// Frames are not segmented by the receiver (no TSO in TUNSETOFFLOAD): loss, rate and queue act on
// packets of one MTU, as on a real wire. Checksums are left out on the way, as the virtio header
// allows.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::nanoseconds;

// A virtio_net_hdr stands in front of each frame (TUNGETVNETHDRSZ); its header is no C++.
constexpr size_t kVirtioHeaderBytes = 10;
constexpr size_t kFrameBytesMax = 65536 + 64;
constexpr size_t kFramesPerTurnMax = 64;  // of one direction, before the other has its turn
constexpr size_t kFramesQueuedMax = 65536;
constexpr uint32_t kPartsPerMillion = 1000000;
constexpr nanoseconds kQueueMin = microseconds(2000);  // so that a short wire has a queue too

volatile sig_atomic_t is_asked_to_end = 0;

void on_signal(int) { is_asked_to_end = 1; }

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "tap-relay: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

[[noreturn]] void fail_usage(const std::string& why) {
  std::fprintf(stderr, "tap-relay: %s\n", why.c_str());
  std::exit(2);
}

struct Options {
  std::string west;  // NAMESPACE/DEVICE
  std::string east;
  uint32_t delay_us = 0;
  uint32_t loss_ppm = 0;
  uint32_t rate_mbit = 0;  // 0: no limit
  uint32_t seed = 1;
};

uint32_t number_of(std::string_view key, std::string_view text) {
  uint32_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size()) {
    fail_usage(std::string(key) + " is no number: " + std::string(text));
  }
  return number;
}

Options read_options(int count, char** words) {
  Options options;
  const std::map<std::string_view, uint32_t*> numbers = {{"delay_us", &options.delay_us},
                                                         {"loss_ppm", &options.loss_ppm},
                                                         {"rate_mbit", &options.rate_mbit},
                                                         {"seed", &options.seed}};
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    const size_t equals = std::min(word.find('='), word.size());
    const std::string_view key = word.substr(0, equals);
    const std::string_view value = word.substr(std::min(equals + 1, word.size()));
    if (key == "west") {
      options.west = value;
    } else if (key == "east") {
      options.east = value;
    } else if (const auto found = numbers.find(key); found != numbers.end()) {
      *found->second = number_of(key, value);
    } else {
      fail_usage("what is '" + std::string(word) + "'?");
    }
  }
  if (options.west.empty() || options.east.empty()) fail_usage("west= and east= are needed");
  return options;
}

// A TAP device in another namespace. The descriptor works from here.
int open_device(const std::string& place) {
  const size_t slash = place.find('/');
  if (slash == std::string::npos) fail_usage("not NAMESPACE/DEVICE: " + place);
  const std::string space = "/run/netns/" + place.substr(0, slash);
  const std::string name = place.substr(slash + 1);
  ifreq request{};
  if (name.empty() || name.size() >= sizeof(request.ifr_name)) fail_usage("device name: " + name);
  std::copy(name.begin(), name.end(), request.ifr_name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

  const int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  const int there = open(space.c_str(), O_RDONLY | O_CLOEXEC);
  if (here < 0 || there < 0 || setns(there, CLONE_NEWNET) != 0) fail(space);
  const int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0 || ioctl(device, TUNSETIFF, &request) != 0) fail(place);
  if (ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM) != 0) fail(place + " offload");
  if (setns(here, CLONE_NEWNET) != 0) fail("back to our namespace");
  close(here);
  close(there);
  return device;
}

// One way over the wire.
class Direction {
 public:
  Direction(const char* name, int in, int out, const Options& options)
      : name_(name),
        in_(in),
        out_(out),
        delay_(microseconds(options.delay_us)),
        rate_mbit_(options.rate_mbit),
        queue_max_(std::max<nanoseconds>(2 * delay_, kQueueMin)),
        loss_ppm_(options.loss_ppm),
        random_(options.seed) {}

  int in() const { return in_; }

  // Takes what has come. False: the device is gone.
  bool receive() {
    for (size_t i = 0; i < kFramesPerTurnMax; ++i) {
      const ssize_t size = read(in_, buffer_.data(), buffer_.size());
      if (size < 0) return errno == EAGAIN || errno == EINTR || errno == EIO;
      enqueue(static_cast<size_t>(size), Clock::now());
    }
    return true;
  }

  // Delivers what has been on the way for long enough.
  void deliver() {
    while (!frames_.empty() && frames_.front().due <= Clock::now()) {
      const std::vector<char>& octets = frames_.front().octets;
      // A device that is down refuses (EIO): to the sender, the same as a loss.
      const bool is_delivered = write(out_, octets.data(), octets.size()) >= 0;
      ++(is_delivered ? delivered_ : refused_);
      frames_.pop_front();
    }
  }

  // When deliver() has something to do; Clock::time_point::max() for never.
  Clock::time_point next_due() const {
    return frames_.empty() ? Clock::time_point::max() : frames_.front().due;
  }

  void print_counters() const {
    std::printf("%s frames=%llu delivered=%llu lost=%llu overflowed=%llu refused=%llu\n", name_,
                received_, delivered_, lost_, overflowed_, refused_);
  }

 private:
  struct Frame {
    Clock::time_point due;
    std::vector<char> octets;
  };

  void enqueue(size_t size, Clock::time_point now) {
    ++received_;
    if (random_() % kPartsPerMillion < loss_ppm_) {
      ++lost_;
      return;
    }
    Clock::time_point sent = now;  // when its last octet is on the wire
    if (rate_mbit_ > 0) {
      const Clock::time_point begin = std::max(now, wire_free_);
      if (begin - now > queue_max_) {
        ++overflowed_;
        return;
      }
      // The header in front of the frame is not on the wire. 8000 ns * octets / (Mbit/s) = ns.
      const size_t octets = size - std::min(size, kVirtioHeaderBytes);
      sent = begin + nanoseconds(8000 * octets / rate_mbit_);
      wire_free_ = sent;
    }
    if (frames_.size() == kFramesQueuedMax) {
      ++overflowed_;
      return;
    }
    frames_.push_back({sent + delay_, {buffer_.data(), buffer_.data() + size}});
  }

  const char* name_;
  int in_;
  int out_;
  nanoseconds delay_;
  uint32_t rate_mbit_;
  nanoseconds queue_max_;  // octets that wait, as the time to send them
  uint32_t loss_ppm_;
  std::mt19937 random_;
  Clock::time_point wire_free_{};
  std::deque<Frame> frames_;
  std::array<char, kFrameBytesMax> buffer_{};
  unsigned long long received_ = 0;
  unsigned long long delivered_ = 0;
  unsigned long long lost_ = 0;
  unsigned long long overflowed_ = 0;
  unsigned long long refused_ = 0;
};

timespec to_timespec(nanoseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  return {seconds.count(), (time - seconds).count()};
}

// Until a signal or the end of a device. Signals come only while it waits.
void relay(Direction& eastward, Direction& westward, const sigset_t& while_waiting) {
  bool is_running = true;
  while (is_running && is_asked_to_end == 0) {
    const Clock::time_point due = std::min(eastward.next_due(), westward.next_due());
    const timespec pause = to_timespec(
        std::clamp<nanoseconds>(due - Clock::now(), nanoseconds(0), std::chrono::seconds(1)));
    std::array<pollfd, 2> devices = {{{eastward.in(), POLLIN, 0}, {westward.in(), POLLIN, 0}}};
    if (ppoll(devices.data(), devices.size(), &pause, &while_waiting) < 0 && errno != EINTR) {
      fail("ppoll");
    }
    is_running = eastward.receive() && westward.receive();
    eastward.deliver();
    westward.deliver();
  }
}

}  // namespace

int main(int count, char** words) {
  const Options options = read_options(count, words);
  sigset_t blocked, while_waiting;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigaddset(&blocked, SIGINT);
  sigprocmask(SIG_BLOCK, &blocked, &while_waiting);
  struct sigaction action{};
  action.sa_handler = on_signal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);

  const int west = open_device(options.west);
  const int east = open_device(options.east);
  static Direction eastward("eastward", west, east, options);
  static Direction westward("westward", east, west, options);
  std::puts("up");
  std::fflush(stdout);
  relay(eastward, westward, while_waiting);
  eastward.print_counters();
  westward.print_counters();
  return 0;
}
