"""A notice is sent as a mail."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate

from orch.errors import HookFailed
from orch.escalation.notice import Notice
from orch.escalation.variables import variable
from orch.hooks import EmailHook


def send(hook: EmailHook, notice: Notice) -> None:
    """The server must have taken it for all recipients. Raises HookFailed."""
    password = variable(hook, hook.password_env) if hook.password_env is not None else ""
    place = f"{hook.host}:{hook.port_used}"
    try:
        server = _connected(hook)
        try:
            if hook.user is not None:
                server.login(hook.user, password)
            refused = server.send_message(made(hook, notice))
        finally:
            # What it says to a good-bye changes nothing: a mail that it took is not sent again.
            with suppress(OSError, smtplib.SMTPException):
                server.quit()
            server.close()
    except ssl.SSLCertVerificationError as exc:
        message = f"hook {hook.name!r}: the certificate of {place}: {exc.verify_message}"
        raise HookFailed(message, retryable=False) from None
    except smtplib.SMTPRecipientsRefused as exc:
        codes = [code for code, _ in exc.recipients.values()]
        message = f"hook {hook.name!r}: {place} refuses all recipients ({codes[0]})"
        raise HookFailed(message, retryable=min(codes) < 500) from None
    except smtplib.SMTPResponseException as exc:
        # What the server says may repeat what it was told, a login included.
        message = f"hook {hook.name!r}: {place} answers with {exc.smtp_code}"
        raise HookFailed(message, retryable=exc.smtp_code < 500) from None
    except smtplib.SMTPNotSupportedError as exc:
        raise HookFailed(f"hook {hook.name!r}: {place}: {exc}", retryable=False) from None
    except (OSError, smtplib.SMTPException) as exc:
        message = f"hook {hook.name!r}: {place} does not answer: {type(exc).__name__}: {exc}"
        raise HookFailed(message[:500], retryable=True) from None
    if refused:
        raise HookFailed(
            f"hook {hook.name!r}: {place} refuses {', '.join(sorted(refused))}, and took it for "
            f"the others",
            retryable=False,
        )


def made(hook: EmailHook, notice: Notice) -> EmailMessage:
    """The mail; the same notice has the same `Message-ID`, so that a second one can be told."""
    mail = EmailMessage()
    mail["Subject"] = f"[orch] {notice.headline()}"
    mail["From"] = hook.sender
    mail["To"] = ", ".join(hook.to)
    mail["Date"] = formatdate(notice.at / 1000 if notice.at else None)
    domain = hook.sender.rpartition("@")[2]
    mail["Message-ID"] = f"<{hashlib.sha256(notice.id.encode()).hexdigest()[:32]}.orch@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join([notice.headline(), "", *notice.lines(), ""]))
    return mail


def _connected(hook: EmailHook) -> smtplib.SMTP:
    if hook.security == "ssl":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(hook.host, hook.port_used, timeout=hook.timeout, context=context)
    server = smtplib.SMTP(hook.host, hook.port_used, timeout=hook.timeout)
    if hook.security == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server
