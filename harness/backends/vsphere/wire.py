"""SOAP over verified TLS: pyVmomi's adapter with a deadline a call, a count of round trips, and errors in our words."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from xml.parsers.expat import ExpatError

from pyVmomi import vmodl
from pyVmomi.SoapAdapter import SoapStubAdapter

from harness.backends.vsphere import tls
from harness.backends.vsphere.errors import BadAnswer, Unavailable, Unreachable, translated
from harness.backends.vsphere.refs import Inert, Ref, managed_type
from harness.core import Deadline, LabError

_IDLE_SECONDS = 50  # the proxies in front of vCenter and ESXi close connections that were idle for a minute or more
_SLACK = 5.0  # a host that answers at the very end of a wait is still heard
_CONNECTIONS = 8


class Wire(SoapStubAdapter):
    """Calls to one endpoint.

    Args:
        host: the lab's name of the host, for messages.
        address: host and port of the endpoint.
        context: whom to trust.
        version: the API version to speak, as pyVmomi names it.
        connect_seconds: how long a new connection may take.
        cookie: the session that an earlier wire had.
    """

    def __init__(
        self, host: str, address: tuple[str, int], context: ssl.SSLContext, version: str, connect_seconds: float
    ) -> None:
        name = f"[{address[0]}]" if ":" in address[0] else address[0]
        super().__init__(  # type: ignore[no-untyped-call]
            host=name,
            port=address[1],
            version=version,
            sslContext=context,
            poolSize=_CONNECTIONS,
            connectionPoolTimeout=_IDLE_SECONDS,
            httpConnectionTimeout=connect_seconds,
        )
        self.trips: Counter[str] = Counter()
        self.at = f"{name}:{address[1]}"
        self._lab_host = host
        self._connect_seconds = connect_seconds
        self._local = threading.local()
        self._inert = Inert(version)
        self._counting = threading.Lock()

    def invoke(self, operation: str, ref: Ref, method: str, arguments: tuple[Any, ...], deadline: Deadline) -> Any:
        """One round trip.

        Raises:
            LabError: no connection, no answer in time, none that can be understood, or a fault of the host.
            WrongState: the host calls the machine's state wrong for it.
            Refused: the host does not do what was asked.
        """
        self._local.deadline = deadline
        target: Callable[..., Any] = getattr(managed_type(ref.kind)(ref.id, self), method)
        try:
            return target(*arguments)
        except (vmodl.MethodFault, vmodl.RuntimeFault) as fault:
            raise translated(fault, self._lab_host, operation) from fault
        except ssl.SSLError as error:
            raise tls.explained(error, self._lab_host, self.at) from error
        except TimeoutError as error:
            raise self._fault(Unreachable, "did not answer in time", operation) from error
        except OSError as error:
            raise self._fault(Unreachable, f"cannot be reached: {error}", operation) from error
        except http.client.HTTPException as error:
            hint = "a vCenter that has just started answers so for some minutes"
            raise self._fault(
                Unavailable, f"answered: {str(error) or type(error).__name__}", operation, hint
            ) from error

    def InvokeMethod(self, mo: Any, info: Any, args: Any, outerStub: Any = None) -> Any:  # noqa: N802, N803 - pyVmomi's
        """Managed objects in the answer are inert, so that reading one by accident is an error and no round trip."""
        del outerStub
        with self._counting:
            self.trips[info.wsdlName] += 1
        try:
            status, answer = super().InvokeMethod(mo, info, args, outerStub=self._inert)  # type: ignore[no-untyped-call]
        except ssl.SSLError:  # a ValueError as well
            raise
        except (ExpatError, AttributeError, TypeError, LookupError, ValueError) as error:
            # pyVmomi falls so over values its types do not know, such as an enumeration's newer word
            raise BadAnswer(
                f"the answer cannot be understood: {type(error).__name__}: {error}",
                host=self._lab_host,
                operation=info.wsdlName,
            ) from error
        if status == http.HTTPStatus.OK:
            return answer
        if isinstance(answer, BaseException):
            raise answer
        raise BadAnswer(f"status {status} without a fault", host=self._lab_host, operation=info.wsdlName)

    def GetConnection(self) -> Any:  # noqa: N802 - pyVmomi's name
        """From the pool or new, and no longer patient than the caller."""
        deadline: Deadline = self._local.deadline
        # Every argument of a new connection is here; two threads at once may swap theirs, which are alike.
        self.schemeArgs = {**self.schemeArgs, "timeout": min(self._connect_seconds, deadline.seconds + 0.1)}
        connection = super().GetConnection()  # type: ignore[no-untyped-call]
        connection.sock.settimeout(deadline.seconds + _SLACK)
        return connection

    def hang_up(self) -> None:
        """Close what is idle."""
        self.DropConnections()  # type: ignore[no-untyped-call]

    def _fault(self, kind: type[LabError], text: str, operation: str, hint: str | None = None) -> LabError:
        return kind(f"{self.at} {text}", host=self._lab_host, operation=operation, hint=hint)
