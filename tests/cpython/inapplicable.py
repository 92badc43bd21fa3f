"""Why a test of CPython's test.test_asyncio does not apply here: the one list of them.

RULES rows: (module, class, test, reason), the first three of them globs; a class may be followed by '@' and a glob of rigs, as in
'GatherTests@own' (without it: every rig).  The first row that matches counts.  WHOLE_MODULES are not even loaded.
A reason that begins with 'later:' goes when the transports it names come.
"""

import fnmatch
import functools
import sys

VIRTUAL_TIME = "runs in the rig 'virtual': moves the clock by a time generator, which only the virtual-time loop has"

STDLIB = "tests asyncio's own Python code, which no loop replaces"
CHILD = 'starts another interpreter with asyncio\'s default loop'
LOOP_INSIDE = 'reads or drives the queues and the selector inside asyncio\'s own loop'
LOOP_HOOK = "calls or replaces private methods of asyncio's own loop"
SOCKET_MOCK = 'mock sockets: only a loop that does its system calls through the Python socket object can use them'
OWN_SCHEDULING = "replaces call_soon of one loop object by a function that fails: a Task puts its steps into our loop without a call_soon"
FOREIGN_METHOD = "calls the unbound method of one C type (asyncio.Future or asyncloop.Future) on an object of the other"
PYTHON_REGISTER = "puts asyncio's pure-Python running loop, current task or all_tasks in place of the C ones, which the loop fills"
SAME_MIXIN = 'the same tests as EPollEventLoopTests, with another selector for asyncio\'s own loop'
PROACTOR = "Windows"
WATCHER = "asyncio's child watchers, which the loop does not need"



def when(condition, rows):
    """Rows for tests that are written otherwise in other versions."""
    return rows if condition else []


RULES = [
    ('*', '*Proactor*', '*', PROACTOR),

    # -- test_base_events
    ('test_base_events', 'BaseEventTests', '*', STDLIB),
    ('test_base_events', 'TestSelectorUtils', '*', STDLIB),
    ('test_base_events', '*', 'test_env_var_debug', CHILD),
    ('test_base_events', 'BaseEventLoopTests', 'test_not_implemented', LOOP_HOOK),
    ('test_base_events', 'BaseEventLoopTests', 'test__add_callback*', LOOP_INSIDE),
    ('test_base_events', 'BaseEventLoopTests', 'test__run_once*', LOOP_INSIDE),
    ('test_base_events', 'BaseEventLoopTests', 'test_call_soon', LOOP_INSIDE),
    ('test_base_events', 'BaseEventLoopTests', 'test_call_later', LOOP_INSIDE),
    ('test_base_events', 'BaseEventLoopTests', 'test_single_selecter_event_callback_after_stopping', LOOP_INSIDE),
    ('test_base_events', 'BaseEventLoopTests', 'test_run_forever_pre_stopped', LOOP_INSIDE),
    ('test_base_events', 'BaseEventLoopTests', 'test_custom_run_forever_integration', LOOP_HOOK),
    ('test_base_events', 'BaseEventLoopTests', 'test_create_connection_happy_eyeballs*', SOCKET_MOCK),
    ('test_base_events', 'BaseEventLoopWithSelectorTests', 'test_accept_connection_*', LOOP_HOOK),
    *when(sys.version_info < (3, 15), [     # the newer one allows for the context= that the loop passes
        ('test_base_events', 'BaseEventLoopWithSelectorTests', 'test_create_connection_ssl_server_hostname_default', LOOP_HOOK),
    ]),
    ('test_base_events', 'BaseEventLoopWithSelectorTests', 'test_create_connection_no_inet_pton', SOCKET_MOCK),
    ('test_base_events', 'BaseEventLoopWithSelectorTests', 'test_create_server_soreuseport_only_defined', SOCKET_MOCK),
    ('test_base_events', 'BaseLoopSockSendfileTests', 'test__sock_sendfile_native_failure', LOOP_HOOK),
    ('test_base_events', 'BaseLoopSockSendfileTests', 'test_sock_sendfile_no_fallback',
     'expects of the platform-less base class of asyncio\'s loop that it has no sendfile'),

    # -- test_events
    ('test_events', 'PollEventLoopTests', '*', SAME_MIXIN),
    ('test_events', 'SelectEventLoopTests', '*', SAME_MIXIN),
    ('test_events', 'HandleTests', '*', STDLIB),
    ('test_events', 'TimerTests', '*', STDLIB),
    ('test_events', 'AbstractEventLoopTests', '*', STDLIB),
    ('test_events', 'TestAbstractServer', '*', STDLIB),
    ('test_events', 'TestPyGetEventLoop', 'test_get_event_loop_returns_running_loop*', PYTHON_REGISTER),
    ('test_events', 'TestPyGetEventLoop', 'test_get_running_loop_already_running', PYTHON_REGISTER),
    ('test_events', 'EPollEventLoopTests', 'test_internal_fds', LOOP_INSIDE),
    ('test_events', 'EPollEventLoopTests', 'test_timeout_rounding', LOOP_INSIDE),
    ('test_events', 'EPollEventLoopTests', 'test_prompt_cancellation', LOOP_HOOK),
    ('test_events', 'EPollEventLoopTests', 'test_create_server_multiple_hosts_*', SOCKET_MOCK),

    # -- test_free_threading, test_graph
    ('test_free_threading', 'Test*PyFreeThreading', 'test_all_tasks_from_other_thread_includes_eager_tasks', PYTHON_REGISTER),
    ('test_graph', 'TestCallStackPy', '*', PYTHON_REGISTER),
    ('test_graph', 'TestCallStackC@loop', 'test_stack_future',
     "asyncio's C Future tells who waits for it of asyncio's own tasks only (rig 'own' has our Future)"),

    *[('test_graph', 'TestCallStackC@own', test, "shows the frames of asyncio's own Python coroutines, in a call graph; twins in C have none")
      for test in ('test_stack_as_completed*', 'test_stack_tgroup', 'test_stack_wait', 'test_stack_wait_for_non_positive_timeout')],

    # -- test_futures, test_tasks
    ('test_futures', 'DuckTests', '*', STDLIB),
    ('test_tasks', '*IntrospectionTests', '*', STDLIB),
    ('test_tasks', 'GenericTaskTests', '*', STDLIB),
    ('test_tasks', '*GatherTests', 'test_env_var_debug', CHILD),
    ('test_tasks', 'CTask*@own', 'test_error_in_call_soon', OWN_SCHEDULING),
    ('test_tasks', 'CTask*@task', 'test_error_in_call_soon', OWN_SCHEDULING),
    ('test_tasks', 'CTask_CFuture_Tests@task', 'test_set_*_causes_invalid_state', FOREIGN_METHOD),
    ('test_tasks', 'CTask_CFuture_Tests@future', 'test_set_*_causes_invalid_state', FOREIGN_METHOD),
    ('test_tasks', 'CoroutineGatherTests@[!v]*', 'test_issue46672', "replaces a method of asyncio's own loop class"),

    # -- test_sendfile, test_sock_lowlevel
    ('test_sendfile', 'PollEventLoopTests', '*', SAME_MIXIN),
    ('test_sendfile', 'SelectEventLoopTests', '*', SAME_MIXIN),
    ('test_sock_lowlevel', 'PollEventLoopTests', '*', SAME_MIXIN),
    ('test_sock_lowlevel', 'SelectEventLoopTests', '*', SAME_MIXIN),

    # -- test_ssl
    ('test_ssl', 'TestSSL', 'test_remote_shutdown_receives_trailing_data_on_slow_socket',
     "puts a slow socket into the private attributes of asyncio's own transport"),

    ('test_sslproto', '*StartTLSTests', 'test_create_connection_ssl_failed_certificate_no_cycles',
     "counts transports by a method that it puts into asyncio's own SSLProtocol"),

    # -- test_streams, test_server, test_server_context
    ('test_server', '*', 'test_start_unix_server_1', "reads private attributes of asyncio's own Server"),
    *when(sys.version_info < (3, 13), [
        ('test_server', 'TestServer2', 'test_wait_closed_*', 'counts its connections by private methods of asyncio\'s Server (3.12)'),
    ]),

    # -- test_subprocess
    ('test_subprocess', 'SubprocessTransportTests', '*', STDLIB),
    ('test_subprocess', '*', 'test_watcher_implementation', WATCHER),
    ('test_subprocess', 'GenericWatcherTests', '*', WATCHER),
    ('test_subprocess', 'MultiLoopChildWatcherTests', '*', WATCHER),
    ('test_subprocess', 'Subprocess[!P]*WatcherTests', '*', "the same tests as SubprocessPidfdWatcherTests, with another of asyncio's child watchers"),

    # -- test_unix_events
    ('test_unix_events', 'SelectorEventLoopSignalTests', '*', "mocks the signal module inside asyncio's own loop"),
    ('test_unix_events', 'SelectorEventLoopUnixSocketTests', 'test_create_unix_server_bind_error', SOCKET_MOCK),
    ('test_unix_events', 'SelectorEventLoopUnixSockSendfileTests', '*', LOOP_HOOK),
    ('test_unix_events', 'Unix*PipeTransportTests', '*', "the private methods of asyncio's own pipe transports, with mocks"),
    ('test_unix_events', '*ChildWatcherTests*', '*', WATCHER),
    ('test_unix_events', 'PolicyTests', '*', WATCHER),
]

# The first three columns of rules for tests that the newest Python no longer has.
OLDER_ONLY = [
    ('test_subprocess', 'GenericWatcherTests', '*'),
    ('test_subprocess', 'MultiLoopChildWatcherTests', '*'),
    ('test_unix_events', '*ChildWatcherTests*', '*'),
    ('test_unix_events', 'PolicyTests', '*'),
]

WHOLE_MODULES = {
    'test_proactor_events': PROACTOR,
    'test_protocols': STDLIB,
    'test_selector_events': "the private methods of asyncio's own loop and transports, with mock sockets",
    'test_tools': STDLIB,
    'test_transports': STDLIB,
    'test_windows_events': PROACTOR,
    'test_windows_utils': PROACTOR,
}


@functools.cache
def rules_of(module):
    rows = []
    for module_glob, class_glob, test_glob, reason in RULES:
        if fnmatch.fnmatchcase(module, module_glob):
            cls, _, rig = class_glob.partition('@')
            rows.append((cls, rig or '*', test_glob, reason))
    return rows


def why(module, rig, case):
    """The reason why 'Class.test' of a module does not apply in a rig, or None."""
    cls, _, test = case.partition('.')
    for class_glob, rig_glob, test_glob, reason in rules_of(module):
        if (fnmatch.fnmatchcase(cls, class_glob) and fnmatch.fnmatchcase(rig, rig_glob)
                and fnmatch.fnmatchcase(test, test_glob)):
            return reason
    return None
