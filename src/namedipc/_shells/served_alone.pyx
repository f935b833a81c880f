# cython: language_level=3, boundscheck=False, wraparound=False
"""The commonest calls of all at a service, compiled: one frame in, a handler that does not wait, one frame out.

The law: a short cut through `service_loop`, never another way. It takes calls that bring nothing along: one by itself, on
a connection at rest, and those which have come together; whatever differs it leaves as it found it, or hands on at the
very step where it differs. So it knows nothing that the long way does not, and a package that was built without it does the same; but
where many clients call at the same time, their answers leave together.
"""

from gc import get_referents

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from .._protocol.frame cimport CALL, DEADLINE, REPLY, Header, deadline_at, is_alone, le16toh, le32toh, put_header
from ..lowlevel.system_calls cimport EPOLLIN, MSG_DONTWAIT, MSG_NOSIGNAL, c_recv, c_send, epoll_event, epoll_wait, now
from .short_way cimport MOST_BODY, READ_BYTES, Poll, goes_on, taken_away, tell
from .slots cimport place_of, put, taken

from .._errors import InvalidMessage
from .._protocol import frames
from .._protocol.session import ServerSession
from . import latency, outcomes, polling
from .service_clients import Connection
from .suspended import ActiveCall, Suspended

cdef extern from "Python.h":
    object PyContext_Copy(PyObject *)
    int PyContext_Enter(object) except -1
    int PyContext_Exit(object) except -1
    int PyIter_Send(object, object, PyObject **) except -1  # PYGEN_ERROR
    const int PYGEN_RETURN


cdef extern from *:
    """
    static inline void touch(const void *at) { (void)*(const volatile char *)at; }
    """
    void touch(const void *) noexcept nogil  # read, and not thrown away by the compiler


cdef enum:
    MANY = 16  # who have sent something at the same time: the service is what they all wait for
    EVENTS = 64  # `service_loop.EVENTS_A_POLL`

cdef object IDLE = outcomes.IDLE
cdef object TURN = outcomes.TURN
cdef object UNTIMED = outcomes.UNTIMED

cdef Py_ssize_t LAST_ID = place_of(ServerSession, "last_id")

assert (CALL, REPLY, DEADLINE) == (frames.CALL, frames.REPLY, frames.DEADLINE_FLAG)
assert (sizeof(Header), sizeof(double)) == (frames.HEADER_BYTES, frames.DEADLINE.size)
assert taken_away() == polling.TAKEN_AWAY_SECONDS


cdef struct Resting:
    # Of a client at rest, what a call needs: less than a line of the cache, where its objects are some fifteen.
    PyObject *connection  # borrowed from `Clients.connections`, and from `roused`; NULL for one that is not at rest
    PyObject *context  # borrowed from `Connection.contexts`; NULL where the client has called nothing while at rest
    PyObject *variables  # what that holds, for nobody changes it
    uint32_t last_id  # `ServerSession.last_id`
    uint32_t message_bytes  # `ServerSession.their_message_bytes`, but for what is not sent from here anyway
    uint16_t index  # the method whose context it is
    uint16_t held  # which of the answers that are held is its, from 1 on; 0 for none


cdef Poll poll_events(int epoll, epoll_event *events, double budget) noexcept nogil:
    cdef Poll poll = Poll(-1, 0, 0, False)
    cdef double start = now()
    cdef double last = start
    while True:
        poll.found = epoll_wait(epoll, events, EVENTS, 0)
        if not goes_on(&poll, poll.found > 0, start, &last, budget):
            return poll


cdef struct Call:
    uint32_t id
    uint16_t index  # of the method
    double deadline  # 0 for none
    Py_ssize_t start, end  # of the arguments, in the frame


cdef inline bytes reply(uint32_t id, bytes body):
    """As `ServerSession.reply` makes it."""
    cdef Py_ssize_t length = PyBytes_GET_SIZE(body)
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, sizeof(Header) + length)
    put_header(PyBytes_AS_STRING(frame), length, REPLY, 0, 0, id)
    memcpy(PyBytes_AS_STRING(frame) + sizeof(Header), PyBytes_AS_STRING(body), length)
    return frame


cdef inline tuple begin(handler, tuple args):
    """As `suspended.begin_in_context`, for an `async def` that was prepared: without an exception at its end."""
    cdef PyObject *found
    cdef object coroutine = handler(*args)
    cdef int how = PyIter_Send(coroutine, None, &found)
    cdef object value = <object>found
    Py_DECREF(value)
    return (None if how == PYGEN_RETURN else coroutine), value


@cython.final
cdef class ServedAlone:
    """The short way of a service's calls. One belongs to a `ServiceLoop`, and speaks for it.

    Args:
        loop: The loop.
        ways: By the index of a method: the method, its handler, whether that is an `async def`, `decode` and `direct` of
            its arguments, and `encode`, `exact` and `encode_wire` of its result; None for one that has streams, rules,
            or descriptors.
        step: Runs a handler's first step.

    Attributes:
        calls: How many it has begun, also of those which came together; with `bytes_received` and `bytes_sent` they are
            not among those of the loop.
        quick_seconds: How long a call may take, that answers are held during the next one.
        held_seconds: How long an answer may be held, and the one call in which that passes.
    """

    cdef readonly unsigned long long calls, bytes_received, bytes_sent
    cdef public double quick_seconds, held_seconds
    cdef object loop, clients, answers, step, ready, more, interface
    cdef object outcome  # of the last call that `run` has not had an answer of
    cdef list ways, held
    cdef list roused  # keeps those that were at rest as this began to look at them
    cdef bint may_hold, is_at_work
    cdef int64_t[::1] counts
    cdef double[::1] ends
    cdef dict connections
    cdef int epoll
    cdef ssize_t longest
    cdef Py_ssize_t most_waiting
    cdef char *data
    cdef Resting *resting
    cdef int places
    cdef epoll_event events[EVENTS]
    cdef int at, count  # those of `events` from `at` on were not looked at: a turn has ended before them
    cdef int held_fds[EVENTS]

    def __cinit__(self):
        self.data = <char *>PyMem_Malloc(READ_BYTES)
        if self.data == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.data)
        PyMem_Free(self.resting)

    def __init__(self, loop, list ways, step):
        self.quick_seconds = 20e-6
        self.held_seconds = 250e-6
        self.loop = loop
        self.ways = ways
        self.step = step
        self.clients = loop.clients
        self.answers = loop.answers
        self.held = []
        self.roused = []
        self.counts = loop.answers.latencies.counts
        self.ends = latency.ENDS
        self.connections = loop.clients.connections
        self.ready = loop.clients.ready
        self.more = loop.clients.more
        self.epoll = loop.clients.epoll.fileno()
        self.longest = loop.longest_bytes
        self.most_waiting = loop.limits.calls_in_flight
        self.interface = loop.interface

    def rest(self, connection):
        """Note that a client is at rest: nothing of it waits, or is owed, and what it sends next is one call, as a rule."""
        cdef int fd = connection.fd
        cdef int places
        cdef void *resting
        if fd >= self.places:
            places = max(64, fd + 1, 2 * self.places)
            resting = PyMem_Realloc(self.resting, places * sizeof(Resting))
            if resting == NULL:
                raise MemoryError
            self.resting = <Resting *>resting
            memset(self.resting + self.places, 0, (places - self.places) * sizeof(Resting))
            self.places = places
        self.resting[fd] = Resting(
            <PyObject *>connection,
            NULL,
            NULL,
            connection.session.last_id,
            <uint32_t>min(connection.session.their_message_bytes, MOST_BODY),
            0,
            0,
        )

    def rouse(self, connection):
        """Take that back, and leave the client's objects as the long way would have left them."""
        cdef Resting *resting = self.resting + <int>connection.fd
        session = connection.session
        session.last_id = resting.last_id
        if resting.held:
            session.outgoing.append(self.held[resting.held - 1])
            self.held[resting.held - 1] = None
        resting.connection = NULL
        if self.is_at_work:
            self.roused.append(connection)

    cdef inline Resting *found(self, int fd) noexcept:
        """A client at rest; NULL if it is none, not any more, or nobody."""
        return self.resting + fd if 0 <= fd < self.places and self.resting[fd].connection != NULL else NULL

    def serve(self, double end):
        """Take calls as they come, and wait a moment for more where that pays.

        Returns:
            None: there is something for `ServiceLoop.pump` to look at. Else what is to be returned from there.
        """
        cdef int count
        while True:
            if self.at == self.count:
                count = epoll_wait(self.epoll, self.events, EVENTS, 0)
                if count <= 0:
                    count = self.wait_a_moment()
                    if count <= 0:
                        return IDLE
                self.take_events(count)
            outcome = self.serve_some(end)
            if outcome is not None or self.ready or self.more or self.clients.accept_due:
                return outcome
            if now() > end:
                return TURN

    cdef int wait_a_moment(self) except -2:
        """Wait for the next call where that pays. As `ServiceLoop._wait_a_moment`; how many events have come."""
        cdef int count
        cdef Poll poll
        cdef double began
        cdef double seconds = self.loop.moment_seconds()
        if seconds > 0:
            with nogil:
                poll = poll_events(self.epoll, self.events, seconds)
            tell(self.loop.spinner, &poll)
            return <int>poll.found
        if not seconds:
            return 0
        began = now()
        with nogil:
            count = epoll_wait(self.epoll, self.events, EVENTS, <int>(-1000 * seconds))
        self.loop.dozer.ended(now() - began, has_found=count > 0)
        return count

    cdef int take_events(self, int count) except -1:
        """See what epoll has told of. As `ServiceLoop._look` does: those first who have no calls for us."""
        cdef int at, fd
        for at in range(count):
            fd = self.events[at].data.fd
            if self.events[at].events != EPOLLIN or (self.found(fd) == NULL and fd not in self.connections):
                self.events[at].data.fd = -1
                self.clients.happened(fd, self.events[at].events)
        self.at, self.count = 0, count
        if count >= MANY:
            self.touch_contexts()
        return 0

    cdef void touch_contexts(self) noexcept:
        """Have what is copied for each call in the core's own cache: one by one, each would be waited for."""
        cdef int at
        cdef Resting *resting
        for at in range(self.count):
            resting = self.found(self.events[at].data.fd)
            if resting != NULL and resting.context != NULL:
                touch(resting.context)
                touch(resting.variables)

    cdef object serve_some(self, double end):
        """Take those of whom epoll has told, from where the last turn has ended.

        Of many, whose calls take little, some are answered before the first of their answers leaves: who waits for
        several is then woken once for all of them.
        """
        cdef int fd
        cdef double began, t
        cdef double held_since = 0
        cdef bint is_quick = True
        cdef Resting *resting
        cdef object connection, outcome
        t = now()
        self.is_at_work = True
        try:
            while self.at < self.count:
                fd = self.events[self.at].data.fd
                self.at += 1
                began = t
                resting = self.found(fd)
                if resting != NULL:
                    if not self.held:
                        held_since = t
                    self.may_hold = is_quick and self.count >= MANY and self.at < self.count
                    outcome = self.take_resting(fd, resting)
                else:
                    connection = self.connections.get(fd)
                    if connection is None or connection.queued or not connection.interest & EPOLLIN:
                        continue  # it has gone; or waits already, or is not to be read now: epoll will tell again
                    outcome = self.loop.take_unread(connection)
                t = now()
                is_quick = t - began < self.quick_seconds
                if self.held and not (is_quick and t - held_since < self.held_seconds):
                    self.let_go()
                if outcome is None:
                    self.record(t - began)
                elif outcome is not UNTIMED:
                    if not outcome.began:
                        outcome.began = began
                    return outcome
                if t > end:
                    return TURN
            return None
        finally:  # also if a handler was interrupted: what others were answered is sent all the same
            self.may_hold = self.is_at_work = False
            self.let_go()
            self.roused.clear()

    cdef int let_go(self) except -1:
        """Send the answers that are held; all of them, also if this is interrupted."""
        cdef int at
        cdef object interruption = None
        for at in range(len(self.held)):
            try:
                self.let_go_one(at, self.held_fds[at])
            except BaseException as error:
                interruption = error
        self.held.clear()
        if interruption is not None:
            raise interruption
        return 0

    cdef int let_go_one(self, int at, int fd) except -1:
        cdef Resting *resting = self.found(fd)
        cdef object connection
        cdef bytes frame
        cdef ssize_t size, sent
        if resting != NULL and resting.held == at + 1:
            resting.held = 0
            frame = self.held[at]
            size = PyBytes_GET_SIZE(frame)
            sent = self.send(fd, PyBytes_AS_STRING(frame), size)
            if sent < size:
                self.send_rest(resting.connection, frame[sent:])
        else:  # it is among what waits for a client that was roused
            connection = self.connections.get(fd)
            if connection is not None:
                self.clients.flush(connection)
        return 0

    cdef inline ssize_t send(self, int fd, const char *data, size_t size) noexcept:
        """How many bytes the socket has taken; 0 where it is full, or nobody is there."""
        cdef ssize_t sent = max(0, c_send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL))
        self.bytes_sent += sent
        return sent

    cdef int send_rest(self, PyObject *at, bytes rest) except -1:
        """Have the long way send what has found no room; it knows what to do if nobody is there."""
        cdef object connection = <object>at
        connection.session.outgoing.append(rest)
        self.clients.flush(connection)
        return 0

    def begin_some(self, session, run, handler, context, active, list values, Py_ssize_t most, double end):
        """As `CallsTogether._begin_some`, for a handler which is an `async def`."""
        cdef Py_ssize_t first = run.first
        cdef Py_ssize_t at = run.at
        cdef Py_ssize_t last = min(<Py_ssize_t>run.count, at + most - len(values))
        cdef list rows = run.rows
        cdef dict headers = active.headers
        cdef bint has_end = run.deadline is not None
        cdef double deadline = run.deadline if has_end else 0
        cdef double share = run.decoding_seconds
        cdef double began, t = now()
        cdef object coroutine, value, own_context
        try:
            while at < last:
                put(session, LAST_ID, first + at)
                args = <tuple>rows[at]
                at += 1
                self.calls += 1
                own_context = PyContext_Copy(<PyObject *>context)
                PyContext_Enter(own_context)
                try:
                    coroutine, value = begin(handler, args)
                except Exception as error:
                    self.record(now() - t + share)
                    return error
                finally:
                    PyContext_Exit(own_context)
                if coroutine is not None:
                    return own_context, coroutine, value
                values.append(value)
                began, t = t, now()
                self.record(t - began + share)
                if t > end or headers or self.clients.draining or (has_end and t >= deadline):
                    break
            return None
        finally:
            run.at = at

    cpdef void record(self, double seconds) noexcept:
        """As `Latencies.record`, and counted at once."""
        cdef Py_ssize_t low = 0
        cdef Py_ssize_t high = self.ends.shape[0]
        cdef Py_ssize_t middle
        while low < high:  # `bisect_right`
            middle = (low + high) // 2
            if seconds < self.ends[middle]:
                high = middle
            else:
                low = middle + 1
        self.counts[low] += 1

    def take(self, connection):
        """Read a client that has sent something, and answer it. As `ServiceLoop.take_unread`, and in its stead."""
        cdef int fd = connection.fd
        cdef Resting *resting = self.found(fd)
        if resting == NULL:
            return self.loop.take_unread(connection)
        connection.unread = False
        self.is_at_work = True
        try:
            return self.take_resting(fd, resting)
        finally:
            self.is_at_work = False
            self.roused.clear()

    cdef object take_resting(self, int fd, Resting *resting):
        cdef ssize_t size = c_recv(fd, self.data, READ_BYTES, MSG_DONTWAIT)
        if size <= 0:
            return self.loop.take_unread(<object>resting.connection)  # it is told the same
        self.bytes_received += size
        cdef Call call
        if not self.is_call(self.data, size, &call) or call.end != size:
            return self.loop.take_data(<object>resting.connection, PyBytes_FromStringAndSize(self.data, size))
        resting.last_id = call.id
        cdef PyObject *connection = resting.connection  # `roused` has it if it is not at rest any more
        cdef object body = self.run(
            connection, &call, PyBytes_FromStringAndSize(self.data + call.start, size - call.start), resting
        )
        if body is None:
            return self.outcome
        return self.answer(fd, connection, &call, body)

    cdef bint is_call(self, const char *data, ssize_t size, Call *call) noexcept:
        """Whether bytes begin with a whole call which may go the short way."""
        cdef const Header *header = <const Header *>data
        if size < <ssize_t>sizeof(Header) or header.kind != CALL or header.flags & ~DEADLINE:
            return False
        call.start = sizeof(Header)
        call.end = call.start + le32toh(header.length)
        call.id = le32toh(header.id)
        call.index = le16toh(header.method)
        call.deadline = 0
        if size < call.end or not call.id or call.index >= len(self.ways) or self.ways[call.index] is None:
            return False
        if header.flags:
            call.start += sizeof(double)
            if call.end < call.start:
                return False
            call.deadline = deadline_at(data + sizeof(Header))
            if not call.deadline > now():
                return False
        return call.end - call.start <= self.longest

    cdef bytes run(self, PyObject *connection, Call *call, bytes body, Resting *resting):
        """Run the handler of a call.

        Args:
            connection: Whose call it is.
            call: The call.
            body: Its arguments.
            resting: Of the connection, if that is at rest; else NULL.

        Returns:
            What is to be answered; None if it has been, or will be: `outcome` is as `ServiceLoop.begin` has it then.
        """
        cdef object method, handler, decode, direct, encode, exact, encode_wire, context, variables, value, deadline
        cdef object coroutine = None
        cdef bint is_coroutine_function
        cdef object args = None
        cdef object kwargs = None
        cdef object active = None
        self.calls += 1
        method, handler, is_coroutine_function, decode, direct, encode, exact, encode_wire = <tuple>self.ways[call.index]
        if call.deadline:
            active = ActiveCall(method.name, (<object>connection).peer, call.deadline, {}, self.interface)
            context = (<object>connection).context.copy()
        elif resting != NULL and resting.context != NULL and resting.index == call.index:
            context = PyContext_Copy(resting.context)
        else:
            context = (<object>connection).contexts.get(call.index)
            if context is None:
                context = self.loop.known(<object>connection, call.index)
            if resting != NULL:
                resting.context = <PyObject *>context
                variables = get_referents(context).pop()
                resting.variables = <PyObject *>variables
                resting.index = call.index
            context = PyContext_Copy(<PyObject *>context)
        direct = (<list>direct)[<uint8_t>PyBytes_AS_STRING(body)[0]] if PyBytes_GET_SIZE(body) else None
        if direct is not None:
            try:
                args = direct(body)
            except Exception:
                pass  # `decode` says what is the matter
        if args is None:
            try:
                args, kwargs = decode(body)
            except InvalidMessage as error:
                self.answers.answer_invalid(<object>connection, call.id, method, error)
                self.outcome = UNTIMED
                return None
        try:
            PyContext_Enter(context)
            try:
                if active is not None or kwargs or not is_coroutine_function:
                    coroutine, value = self.step(handler, args, {} if kwargs is None else kwargs, active)
                else:
                    coroutine, value = begin(handler, args)
            finally:
                PyContext_Exit(context)
        except Exception as error:  # whatever a handler raises is its caller's
            self.answers.answer_raised(<object>connection, call.id, method, error)
            self.outcome = None
            return None
        if coroutine is not None:
            deadline = None if active is None else call.deadline
            self.outcome = Suspended(<object>connection, call.id, method, deadline, context, coroutine, value)
            self.answers.enter(self.outcome)
            return None
        try:
            return encode_wire(value) if type(value) in <frozenset>exact else encode(value)
        except Exception:
            self.answers.answer_value(<object>connection, call.id, method, value)  # which says what is the matter
            self.outcome = None
            return None

    cdef object answer(self, int fd, PyObject *connection, Call *call, bytes body):
        """Answer a client that was at rest as its call was begun."""
        cdef Py_ssize_t length = PyBytes_GET_SIZE(body)
        cdef Resting *resting = self.found(fd)
        if resting == NULL or resting.connection != connection or length > resting.message_bytes:
            # It has been roused meanwhile, or closed; or the answer is large, and takes long anyway.
            self.answers.answer_encoded(<object>connection, call.id, self.ways[call.index][0], body)
            return None
        cdef ssize_t size = length + sizeof(Header)
        if self.may_hold:
            self.held_fds[len(self.held)] = fd
            self.held.append(reply(call.id, body))
            resting.held = <uint16_t>len(self.held)
            return None
        put_header(self.data, length, REPLY, 0, 0, call.id)
        memcpy(self.data + sizeof(Header), PyBytes_AS_STRING(body), length)
        cdef ssize_t sent = self.send(fd, self.data, size)
        if sent < size:
            self.send_rest(connection, PyBytes_FromStringAndSize(self.data + sent, size - sent))
        return None

    def take_calls(self, connection, int most, double end):
        """Take calls which have come together, each in a frame of its own. As `ServiceLoop._round`, and in its stead.

        Their answers are among what is to be sent then.

        Args:
            connection: Whose calls. It is as one at rest is, but that something was read of it, and that handlers wait.
            most: How many.
            end: When no other is begun.

        Returns:
            How many were taken; and the call whose handler waits; TURN if there are as many as may be, or the time is
            up; None if what comes next is none of ours, or is to be looked at anew.
        """
        cdef object session = connection.session
        cdef object reader = session.reader
        cdef object data = reader.buffer
        if type(data) is not bytes:
            return 0, None
        cdef list outgoing = session.outgoing
        cdef dict waiting = connection.calls
        cdef const char *bytes_ = PyBytes_AS_STRING(data)
        cdef Py_ssize_t at = reader.at
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t longest = session.their_message_bytes
        cdef int count = 0
        cdef Call call
        cdef object body
        cdef double began
        cdef double t = now()
        while count < most and not (count and t > end):  # one at least, else a late turn would do nothing
            if connection.closed or self.clients.draining or len(waiting) >= self.most_waiting:
                return count, None
            if not self.is_call(bytes_ + at, size - at, &call) or (waiting and call.id in waiting):
                return count, None
            body = PyBytes_FromStringAndSize(bytes_ + at + call.start, call.end - call.start)
            at += call.end
            reader.at = at
            put(session, LAST_ID, call.id)
            count += 1
            self.outcome = None
            body = self.run(<PyObject *>connection, &call, body, NULL)
            began, t = t, now()
            if body is not None:
                if PyBytes_GET_SIZE(body) <= longest:
                    outgoing.append(reply(call.id, body))
                else:
                    self.answers.answer_encoded(connection, call.id, self.ways[call.index][0], body)
            elif self.outcome is not None and self.outcome is not UNTIMED:
                self.outcome.began = began
                return count, self.outcome
            if self.outcome is None:
                self.record(t - began)
        return count, TURN
