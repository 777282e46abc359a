#include "link_program.h"

#include <algorithm>

#include "site.h"

namespace istmo::sim {

using codec::Attach;
using codec::Terminus;

namespace {

transport::TlsContext context_of(const std::string& site, transport::TlsRole role) {
  const proxy::Credentials credentials = credentials_of(site);
  transport::TlsContextOptions options;
  options.role = role;
  options.certificate_chain_pem = credentials.certificate;
  options.private_key_pem = credentials.private_key;
  options.ca_pem = credentials.ca;
  if (role == transport::TlsRole::server) options.alpn = {"amqp"};
  return transport::TlsContext::create(options).value();
}

template <class Performative>
std::string frame_of(const Performative& performative) {
  std::vector<uint8_t> frame;
  codec::encode_frame(performative, frame);
  return std::string(text_of(frame));
}

}  // namespace

LinkProgram::LinkProgram(io::SimLoop& loop, const std::string& site, transport::TlsRole role)
    : loop_(loop), context_(context_of(site, role)) {}

LinkProgram::~LinkProgram() { ASSERT(is_closed()); }

void LinkProgram::connect(const io::Address& address) {
  state_ = State::connecting;
  loop_.connect(connect_op_, address, {});
}

void LinkProgram::on_connected(io::Completion&& done) {
  if (!done.failed()) return take(done.fd);
  state_ = State::closed;
  closed_at_ = loop_.now();
}

void LinkProgram::take(io::Fd fd) {
  state_ = State::open;
  codec::TlsEngineOptions options;
  if (context_.role() == transport::TlsRole::client) options.alpn = {"amqp"};
  transport::TransportSink& sink = *this;
  transport_ = std::make_unique<transport::TlsTransport>(loop_, fd, context_, sink, options);
  transport_->start();
}

void LinkProgram::say(std::string_view octets) {
  if (!is_encrypted_) unsaid_ += octets;
  else transport_->send(io::Chain::copy_of(octets));
}

void LinkProgram::greet(const std::vector<std::string_view>& capabilities) {
  say(codec::kSaslProtocolHeader);
  send(codec::SaslInit{.mechanism = "EXTERNAL"});
  say(codec::kAmqpProtocolHeader);
  send(codec::Open{.container_id = "program", .offered_capabilities = capabilities});
  send(codec::Begin{.incoming_window = 1000, .outgoing_window = 1000});
  keep_alive();
}

void LinkProgram::keep_alive() {
  keeps_alive_ = true;
  if (is_encrypted_) on_heartbeat();
}

void LinkProgram::attach_sender(uint32_t handle, std::string_view routing_key) {
  const std::string name = "out" + std::to_string(handle);
  Attach attach{.name = name, .handle = handle, .role = codec::LinkEndRole::sender};
  attach.source.kind = attach.target.kind = Terminus::Kind::node;
  attach.target.address = routing_key;
  attach.initial_delivery_count = 0;
  send(attach);
}

void LinkProgram::attach_receiver(uint32_t handle) {
  const std::string name = "in" + std::to_string(handle);
  Attach attach{.name = name, .handle = handle, .role = codec::LinkEndRole::receiver};
  attach.source.kind = attach.target.kind = Terminus::Kind::node;
  attach.source.is_dynamic = true;
  send(attach);
}

void LinkProgram::end() {
  if (state_ == State::connecting) loop_.cancel(connect_op_);
  if (transport_) transport_->close(io::Loop::Ending::orderly, Error::closed("the test ends"));
}

size_t LinkProgram::count(uint64_t code) const {
  return static_cast<size_t>(std::ranges::count(told_, code, &ToldFrame::code));
}

void LinkProgram::on_transport_open() {
  is_encrypted_ = true;
  if (!unsaid_.empty()) transport_->send(io::Chain::copy_of(unsaid_));
  if (keeps_alive_) on_heartbeat();
}

void LinkProgram::on_transport_data(io::Chain&& bytes) {
  received_ += bytes.to_string();
  std::string_view rest(received_);
  while (rest.size() >= codec::kFrameHeaderBytes) {
    if (rest.starts_with("AMQP")) {
      rest.remove_prefix(codec::kFrameHeaderBytes);
      continue;
    }
    const auto header = codec::read_frame_header(bytes_of(rest.substr(0, 8)));
    ASSERT(header.has_value());
    if (rest.size() < header->size) break;
    const std::string_view body = rest.substr(8, header->size - 8);
    if (!body.empty()) {
      told_.push_back(
          {codec::read_performative_head(bytes_of(body)).value().code, std::string(body)});
    }
    rest.remove_prefix(header->size);
  }
  received_.erase(0, received_.size() - rest.size());
}

void LinkProgram::on_transport_closed(const Error&) {
  state_ = State::closed;
  is_encrypted_ = false;
  closed_at_ = loop_.now();
  loop_.timers().cancel(heartbeat_);
}

void LinkProgram::on_heartbeat() {
  std::vector<uint8_t> frame;
  codec::begin_frame(frame);
  codec::end_frame(frame, kAmqp);
  say(text_of(frame));
  loop_.timers().arm(heartbeat_, loop_.now() + Duration::seconds(1));
}

// --- LinkPort ----------------------------------------------------------------------------------

LinkPort::LinkPort(io::SimLoop& loop, const std::string& site, const io::Address& address)
    : loop_(loop), site_(site), address_(address) {}

void LinkPort::open() {
  fd_ = loop_.listen(address_, {}).value();
  loop_.accept(accept_op_, fd_, {});
}

void LinkPort::close() {
  loop_.cancel(accept_op_);
  for (auto& program : programs_) program->end();
}

bool LinkPort::is_idle() const {
  return accept_op_.is_idle() &&
         std::ranges::all_of(programs_, [](const auto& program) { return program->is_closed(); });
}

void LinkPort::on_accepted(io::Completion&& done) {
  if (done.is_last) return loop_.close(fd_, io::Loop::Ending::orderly);
  accepted_at_.push_back(loop_.now());
  if (script.empty()) return loop_.close(done.fd, io::Loop::Ending::orderly);
  programs_.push_back(std::make_unique<LinkProgram>(loop_, site_, transport::TlsRole::server));
  programs_.back()->say(script);
  programs_.back()->keep_alive();
  programs_.back()->take(done.fd);
}

std::string welcome() {
  const codec::Begin begin{.remote_channel = 0, .incoming_window = 1000, .outgoing_window = 1000};
  std::string octets(codec::kSaslProtocolHeader);
  octets += frame_of(codec::SaslMechanisms{.mechanisms = {"EXTERNAL"}});
  octets += frame_of(codec::SaslOutcome{});
  octets += codec::kAmqpProtocolHeader;
  octets += frame_of(codec::Open{.container_id = "program"});
  octets += frame_of(begin);
  return octets;
}

std::string goodbye() { return frame_of(codec::Close{}); }

}  // namespace istmo::sim
