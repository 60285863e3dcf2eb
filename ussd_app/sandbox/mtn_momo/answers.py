"""MTN MoMo's error answers, in both of their shapes (wire/momo.md section 1.8; words it does not quote are ours)."""

from starlette.responses import JSONResponse, Response

from ussd_app.sandbox.wire import Refused

ERRORS = {
    "VALIDATION_ERROR": (400, "Request does not match the specification."),
    "RESOURCE_NOT_FOUND": (404, "Requested resource was not found."),
    "RESOURCE_ALREADY_EXIST": (409, "Duplicated reference id. Creation of resource failed."),
    "NOT_ALLOWED": (500, "Authorization failed. Insufficient permissions."),
    "NOT_ALLOWED_TARGET_ENVIRONMENT": (500, "Access to target environment is forbidden."),
    "INVALID_CALLBACK_URL_HOST": (500, "Callback URL does not match the configured value."),
    "INVALID_CURRENCY": (500, "Currency not supported."),
    "INTERNAL_PROCESSING_ERROR": (500, "An internal error occurred while processing."),
    "SERVICE_UNAVAILABLE": (503, "Service temporarily unavailable, try again later."),
}


def service(code: str) -> Response:
    """The service's shape, with the HTTP status of the code."""
    status, message = ERRORS[code]
    return JSONResponse({"code": code, "message": message}, status)


def gateway(status: int, message: str) -> Response:
    """The gateway's shape."""
    return JSONResponse({"statusCode": status, "message": message}, status)


def refused(code: str) -> Refused:
    """End the request with a service error."""
    return Refused(service(code))


def unauthorised(message: str) -> Refused:
    """End the request with the gateway's 401."""
    return Refused(gateway(401, message))


def broken(status: int) -> Response:
    """An outage: 429 and 404 of the gateway, 503 of the service, and an empty 500, which tells nothing."""
    if status == 404:  # noqa: PLR2004 - HTTP's own number
        return gateway(404, "Resource not found")
    if status == 429:  # noqa: PLR2004 - the same
        response = gateway(429, "Rate limit is exceeded. Try again in 1 seconds.")
        response.headers["retry-after"] = "1"
        return response
    return service("SERVICE_UNAVAILABLE") if status == 503 else Response(status_code=status)  # noqa: PLR2004 - the same
